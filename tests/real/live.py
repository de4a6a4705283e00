"""A project whose server runs and has two releases to go between, and what each of them answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.edges import goldens, triton
from tests import project, traffic

Outputs = dict[str, Any]
OTHER = ("scale: 1.5", "scale: 1.25")
"""The edit that makes the second release of the tiny model: other weights, so other answers."""


def two_releases(root: Path) -> project.Project:
    """A tiny project with two releases: the spec on disk is the second's, which is live."""
    made = project.make(root)
    made.build()
    made.good("apply")
    made.edit(*OTHER)
    made.build("--accept-goldens")
    made.good("apply", "--accept-goldens")
    return made


def lock(made: project.Project) -> dict[str, Any]:
    """The lock on disk."""
    found: dict[str, Any] = json.loads((made.root / "pipeline.lock").read_text())
    return found


def release_lock(made: project.Project, number: int) -> dict[str, Any]:
    """The lock of a release."""
    folders = sorted((made.root / ".pipeline/releases").glob("[0-9]*"))
    found: dict[str, Any] = json.loads((folders[number - 1] / "pipeline.lock").read_text())
    return found


def golden(
    made: project.Project, locked: dict[str, Any], model: str = "tiny", version: str = "2"
) -> tuple[Outputs, Outputs]:
    """Inputs and outputs of the golden of batch 1."""
    key = locked["models"][model]["versions"][version]["key"]
    found = goldens.read(made.root / ".pipeline/store" / key / "golden.safetensors")
    parts = {"input": {}, "output": {}}  # type: dict[str, Outputs]
    for name, array in found.items():
        batch, part, tensor = name.split("/", 2)
        if batch == "1":
            parts[part][tensor] = array
    return parts["input"], parts["output"]


def clients(
    made: project.Project, known: dict[str, Outputs], questions: Outputs, model: str = "tiny", **more: Any
) -> traffic.Traffic:
    """Four clients over each protocol on the project's server."""
    return traffic.Traffic(made.ports[0], made.ports[1], model, questions, known, **more)


def digest(made: project.Project, model: str = "tiny") -> str | None:
    """What the live config names."""
    return triton.Client(port=made.ports[0]).digest(model)


def nonce(made: project.Project) -> str:
    """What tells the running server from every other, whichever runtime it has."""
    found: str = json.loads((made.root / ".pipeline/run/server.json").read_text())["nonce"]
    return found


def pid(made: project.Project) -> int:
    """The running server's process."""
    found: int = json.loads((made.root / ".pipeline/run/server.json").read_text())["pid"]
    return found


def repository(made: project.Project) -> dict[str, bytes]:
    """Every file of the model repository."""
    folder = made.root / "model_repository"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
