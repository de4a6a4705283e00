"""Rebuild: lays out a clean folder that has what the lock names and nothing else, and tells how a build there differs.

The project's store is looked into only to tell in which part a file differs; no build takes anything from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline import edges
from pipeline.core import build, findings, lock, proof
from pipeline.edges import files, finished, store

_LIMIT = 2 << 30
"""Larger files are told by their digests alone."""


def lay(
    made: Iterable[build.Build],
    beside: Iterable[build.Beside],
    *,
    origin: edges.Project,
    clean: edges.Project,
) -> None:
    """Copies the project's files that these builds are made of, each checked by its digest, into the clean folder.

    Raises Unverified where one has changed since it was looked at.
    """
    wanted: dict[str, str] = {}
    for each in made:
        wanted |= proof.all_places(each)
    for lying in beside:
        wanted |= {lying.sources[name]: sha256 for name, sha256 in lying.files.items()}
    files.make_folder(clean.root)
    for path, sha256 in sorted(wanted.items()):
        finished.copy(origin.root / path, clean.root / path, sha256)


def compare(
    made: build.Build, pinned: lock.Version, *, rebuilt: store.Store, stored: store.Store
) -> Iterator[findings.Finding]:
    """What differs between a build and the lock, a finding a file, and one for each part of it that can be told."""
    built = rebuilt.get(pinned.key)
    if built is None:
        return
    known = stored.get(pinned.key)
    for name, message in proof.outputs(built, pinned).items():
        yield proof.output(made, message)
        if known is None:
            yield proof.output(made, f"{name}: the store has not the locked bytes, so its parts cannot be compared")
            continue
        new, old = rebuilt.path(pinned.key), stored.path(pinned.key)
        told = _golden(old, new) if name == "golden" else _parts(name, old, new)
        for line in told:
            yield proof.output(made, line)


def _parts(name: str, old: Path, new: Path) -> Iterable[str]:
    sizes = [path.stat().st_size if path.is_file() else -1 for path in (old / name, new / name)]
    if min(sizes) < 0 or max(sizes) > _LIMIT:
        return ()
    from pipeline.core import parts  # noqa: PLC0415 - zipfile, only where something differs

    before, after = files.read(old / name, _LIMIT), files.read(new / name, _LIMIT)
    return parts.differences(name, before or b"", after or b"")


def _golden(old: Path, new: Path) -> Iterator[str]:
    """How far each golden tensor moved."""
    from pipeline.edges import goldens  # noqa: PLC0415 - numpy, only where something differs

    for line in goldens.moves(goldens.read(old / store.GOLDEN), goldens.read(new / store.GOLDEN)):
        yield f"golden {line}"
