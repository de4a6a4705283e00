"""A model repository that somebody else made, as it is: only read, and no link in it is followed."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline import edges
from pipeline.core import adopt, errors
from pipeline.edges import digests, files

_CONFIG = "config.pbtxt"
_LIMIT = 4 << 20


def look(folder: Path, root: Path, known: digests.Digests, say: edges.Say) -> tuple[adopt.Folder, ...]:
    """The models' folders in a repository, by name, each with its config and its files. Paths are relative to `root`.

    Raises PipelineError where there is no such folder.
    """
    with files.guard("read", folder):
        entries = [entry for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    names = sorted(entry.name for entry in entries)
    return tuple(_model(folder / name, root, known, say) for name in names)


def _model(folder: Path, root: Path, known: digests.Digests, say: edges.Say) -> adopt.Folder:
    path = folder.relative_to(root).as_posix()
    if folder.is_symlink():
        return adopt.Folder(name=folder.name, path=path, config=None, files={folder.name: "link"})
    say(f"reading {folder.name}")
    found = known.tree(folder)
    return adopt.Folder(name=folder.name, path=path, config=_config(folder, found), files=found)


def _config(folder: Path, found: dict[str, str]) -> str | None:
    """The text of a config; what is no text is not one that Triton reads."""
    if _CONFIG not in found:
        return None
    try:
        return (files.read(folder / _CONFIG, _LIMIT) or b"").decode()
    except (errors.PipelineError, UnicodeDecodeError):
        return "config.pbtxt is no text"
