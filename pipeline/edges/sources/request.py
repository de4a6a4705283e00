"""What every kind of source is asked with, and how it checks the bytes that it was promised."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from pipeline.core import build, errors


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Where a source is resolved from.

    `root` is the spec's folder, `cache` the folder of fetched sources, `locked` what the lock has of this source.
    Without `online` nothing may touch the network. `digest_file` gives a file's sha256 (and may remember it).
    """

    root: Path
    cache: Path
    locked: build.Resolved | None
    online: bool
    digest_file: Callable[[Path], str]


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, read now."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check(path: Path, expected: str, what: str, hint: str) -> None:
    """Raise errors.Unverified, naming both digests, unless the file at `path` has the sha256 `expected`."""
    got = sha256_of(path)
    if got != expected:
        msg = f"{what} does not have the digest that was recorded: expected sha256 {expected}, got {got}"
        raise errors.Unverified(msg, hint=hint)


def plain_file(path: Path, what: str) -> Path:
    """`path`, if it is a regular file and no link. Raises errors.PipelineError."""
    if path.is_symlink() or not path.is_file():
        problem = "is a symbolic link" if path.is_symlink() else "is not there" if not path.exists() else "is no file"
        msg = f"{what} {problem}: {path}"
        raise errors.PipelineError(msg, hint="Put the file itself there, or correct the path in the spec.")
    return path
