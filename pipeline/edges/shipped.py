"""Files of our own repository that a new project gets: out of the installed package, or of a checkout of it."""

from __future__ import annotations

from pathlib import Path

import pipeline
from pipeline.core import errors

GROUPS = ("core", "torch", "onnx", "openvino", "tensorflow", "signing", "cache", "nox")
WORKFLOWS = ("pipeline.yml", "models.yml", "drift.yml", "release.yml")


def read(name: str) -> str:
    """The text of a file by its path in the repository. Raises PipelineError where this installation lacks it."""
    package = Path(pipeline.__file__).parent
    for root in (package / "data" / "project", package.parent):
        path = root / name
        if path.is_file():
            return path.read_text(encoding="utf-8")
    msg = f"this installation of the pipeline lacks {name}"
    raise errors.PipelineError(msg, hint="Install triton-pipeline from its wheel, or run it in a checkout.")
