"""A run in small, for faults to be injected into: makes a release current, drops the oldest, and collects the store.

`python releaser.py FOLDER WORD`; the end state depends on the words alone: entries bear no real moments.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from pipeline import edges
from pipeline.core import build, errors, release
from pipeline.edges import digests, files, releases, store
from pipeline.stages import gc

KEEP = 3


def sha256(data: bytes) -> str:
    """The digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def key(word: str) -> str:
    """The key of a word's store entry; it stands for the lock that names it."""
    return sha256(word.encode())


def digest(word: str) -> str:
    """The digest of a word's release."""
    return "sha256:" + key(word)


def entry(word: str, result: release.Result = "applied") -> release.Entry:
    """The entry of a word's run."""
    start = f"2026-01-02T03:04:{len(word):02}Z"
    return release.Entry(release=None, digest="", command="apply", start=start, seconds=1.5, result=result)


def commit(released: releases.Releases, word: str, keep: int = KEEP) -> release.Release:
    """Makes a word's release current."""
    spec = f"models: {{{word}: é}}\r\n"
    return released.commit(spec=spec, lock=key(word), digest=digest(word), entry=entry(word), keep=keep)


def put(stored: store.Store, word: str) -> None:
    """Publishes a word's store entry."""
    weights, golden = word.encode() * 1000, b"golden of " + word.encode()
    made = build.Built(
        key=key(word),
        files={"model.pt": build.File(sha256=sha256(weights), size=len(weights))},
        golden=sha256(golden),
    )
    with stored.stage() as staged:
        files.write(staged / "model.pt", weights)
        files.write(staged / store.GOLDEN, golden)
        stored.publish(made.key, staged, made)


def open_project(root: Path) -> tuple[edges.Project, store.Store, releases.Releases]:
    """A project, its store and its releases."""
    project = edges.Project(spec=root / "pipeline.yaml")
    stored = store.Store(project.store, digests.Digests(project.state / "digests"))
    return project, stored, releases.Releases(project.releases)


def main(root: Path, word: str) -> None:
    """The run."""
    project, stored, released = open_project(root)
    stored.sweep()
    released.sweep(keep=KEEP)
    current = released.current()
    if current is None or current.digest != digest(word):
        commit(released, word)
    keep = frozenset(released.get(number).lock for number in released.numbers())
    gc.gc(project, stored, keep, say=lambda _: None)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except errors.PipelineError as failure:
        sys.stdout.write(f"{failure.message} -- {failure.hint}\n")
        sys.exit(failure.exit_code)
