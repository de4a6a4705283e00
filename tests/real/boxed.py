"""A small project whose server runs in a container of the CPU image, and what tests do to that container by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.core import build, container
from pipeline.edges import docker
from pipeline.edges.docker import containers as boxes
from tests import project
from tests.real import live

TARGET = """\
  image: {image}
  runtime: docker
  gpus: none
  container: {{{{memory: 3g{more}}}}}
"""


def spec(text: str = project.SPEC, *, image: str = docker.CPU, more: str = "") -> str:
    """A spec of `project.make`, to be served in a container; `more` are keys of `target.container`."""
    plain = "  image: nvcr.io/nvidia/tritonserver:23.08-py3\n  runtime: embedded\n"
    assert plain in text
    return text.replace(plain, TARGET.format(image=image, more=f", {more}" if more else ""))


def two_releases(root: Path, **more: Any) -> project.Project:
    """The tiny project with two releases, the second live in a container."""
    made = project.make(root, spec(**more))
    made.build()
    made.good("apply")
    made.edit(*live.OTHER)
    made.build("--accept-goldens")
    made.good("apply", "--accept-goldens")
    return made


def identity(made: project.Project) -> str:
    """The id of the container that is recorded."""
    found: str = json.loads((made.root / ".pipeline/run/server.json").read_text())["container"]
    return found


def box(engine: docker.Engine, made: project.Project) -> boxes.Found:
    """The container that is recorded, as the engine has it."""
    found = boxes.look(engine, identity(made))
    assert found is not None
    return found


def of(engine: docker.Engine, made: project.Project) -> set[str]:
    """The project's containers, by id."""
    label = f"{container.PROJECT}={build.digest(str(made.root))}"
    return {str(each["Id"]) for each in engine.api.containers(all=True, filters={"label": label})}


def all_of(engine: docker.Engine) -> set[str]:
    """Every container on the engine, by id."""
    return {str(each["Id"]) for each in engine.api.containers(all=True)}
