"""The `path` source: a local folder of weights. Its files are its identity, so an edited file is another source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import edges
from pipeline.core import build, errors, spec
from pipeline.edges.sources import request, weights

if TYPE_CHECKING:
    import torch


def resolve(declared: str | spec.PathSource, asked: request.Request) -> build.Resolved:
    """Hash every file that a load would read. Raises errors.PipelineError for links, pickle and missing files."""
    source = spec.PathSource(folder=declared) if isinstance(declared, str) else declared
    folder = asked.root / source.folder
    if not folder.is_dir():
        msg = f"source folder {source.folder} is not there: {folder}"
        raise errors.PipelineError(msg, hint="Correct source.path; it is relative to the spec's folder.")
    names = sorted(entry.name for entry in folder.iterdir())
    weights.check_names(names, source.folder)
    taken = [name for name in names if weights.wanted(name)]
    for name in taken:
        request.plain_file(folder / name, f"{source.folder}/{name}")
    weights.check_code((folder / "config.json").read_bytes(), {}, None, source.folder)
    identity = {"folder": source.folder}
    if source.architecture:
        identity["architecture"] = source.architecture
    return build.Resolved(
        kind="path", identity=identity, files={name: asked.digest_file(folder / name) for name in taken}
    )


def fetch(resolved: build.Resolved, root: Path, cache: Path, say: edges.Say) -> Path:  # noqa: ARG001 - one shape for all
    """The folder itself, its files checked now. Raises errors.Unverified for a file that changed meanwhile."""
    folder: Path = root / resolved.identity["folder"]
    for name, digest in resolved.files.items():
        what = f"{resolved.identity['folder']}/{name}"
        request.check(request.plain_file(folder / name, what), digest, what, "The folder changed: run `lock` again.")
    return folder


def load(resolved: build.Resolved, folder: Path | None, root: Path) -> torch.nn.Module:  # noqa: ARG001
    """The folder's pretrained model."""
    assert folder is not None  # noqa: S101 - fetch gave it
    return weights.load(folder, resolved.identity.get("architecture"))
