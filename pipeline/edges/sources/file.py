"""The `file` source: a finished artifact, adopted by the digest that the spec names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import edges
from pipeline.core import build, errors, spec
from pipeline.edges.sources import request

if TYPE_CHECKING:
    import torch


def resolve(declared: spec.FileSource, asked: request.Request) -> build.Resolved:
    """The digest that was declared, if the file has it. Raises errors.Unverified naming both digests."""
    path = request.plain_file(asked.root / declared.path, declared.path)
    got = asked.digest_file(path)
    if got != declared.sha256:
        msg = f"{declared.path} is not the file that the spec names: expected sha256 {declared.sha256}, got {got}"
        raise errors.Unverified(msg, hint="Restore the file, or set source.file.sha256 if the new one is right.")
    return build.Resolved(kind="file", identity={"path": declared.path, "sha256": declared.sha256})


def fetch(resolved: build.Resolved, root: Path, cache: Path, say: edges.Say) -> Path:  # noqa: ARG001 - one shape for all
    """The file itself, checked now. Raises errors.Unverified."""
    name = resolved.identity["path"]
    path = request.plain_file(root / name, name)
    request.check(path, resolved.identity["sha256"], name, "Restore the file, or correct source.file.sha256.")
    return path


def load(resolved: build.Resolved, folder: Path | None, root: Path) -> torch.nn.Module:  # noqa: ARG001
    """A finished artifact has no eager model."""
    msg = "a `file` source is an artifact already; it has no eager model"
    raise errors.PipelineError(msg, hint="Remove `export` from the model.")
