"""Shared caches: builds that others read and trusted runs write, one module a kind, the table KINDS their registry.

All kinds have the layout of Bazel's remote cache: `ac/KEY` and `cas/SHA256`. Nothing that comes from one is believed:
`fetch` and `blob` hash every byte on arrival. Which builds are wanted, and what becomes of them, is known elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from pipeline.core import action, build, errors
from pipeline.edges import files

VARIABLE = "PIPELINE_CACHE"
TOKEN = "PIPELINE_CACHE_TOKEN"  # noqa: S105 - the variable's name
KINDS = {"file": "folder", "http": "http", "https": "http", "s3": "objects", "gs": "objects", "az": "objects"}
"""The module of each kind of address: it is imported where such a cache is named, http and ssl with it."""


class Cache(Protocol):
    """What every kind can do. `where` is its address as it may be shown. Everything raises action.Fault."""

    where: str

    def stream(self, name: str, size: int) -> Iterator[bytes] | None:
        """The bytes of a name, of which about `size` are expected; None where there is none."""

    def size(self, name: str) -> int | None:
        """How many bytes a name has; None where there is none."""

    def put(self, name: str, body: bytes | Path) -> None:
        """Publishes a name in one step: others see all of it or nothing."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How long one request may take: seconds of silence, and in all, with so many more for each megabyte."""

    silence: float = 10.0
    total: float = 30.0
    megabyte: float = 0.5


def find(named: str | None, bounds: Bounds | None = None) -> Cache | None:
    """The cache that a command's option names, else the one that PIPELINE_CACHE does; None where neither does.

    Raises PipelineError for an address of no kind, or an option with a password: other users see a command line.
    """
    if named and "@" in urlsplit(named).netloc:
        msg = "--cache has a name or a password in it, which other users of this machine can see"
        hint = f"Set {VARIABLE} to that address, or {TOKEN} to a token, in the environment."
        raise errors.PipelineError(msg, hint=hint)
    return opened(named or os.environ.get(VARIABLE, ""), bounds or Bounds())


def opened(address: str, bounds: Bounds) -> Cache | None:
    """The cache at an address; None for an empty one. Raises PipelineError for one of no kind."""
    if not address:
        return None
    parts = urlsplit(address)
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")).rstrip("/")
    kind = KINDS.get(parts.scheme)
    if kind is None:
        msg = f"{parts.scheme or plain!r} is no kind of cache: expected {', '.join(KINDS)}"
        raise errors.PipelineError(msg, hint=f"Correct {VARIABLE} or --cache: file:///srv/cache, https://HOST/PATH.")
    made: Cache = importlib.import_module(f"{__name__}.{kind}").open_cache(
        plain, _headers(parts.username, parts.password), bounds
    )
    return made


def _headers(name: str | None, password: str | None) -> Mapping[str, str]:
    """Who we are: a token, or the name and the password of the address."""
    if token := os.environ.get(TOKEN, "").strip():
        return {"Authorization": f"Bearer {token}"}
    if name is None:
        return {}
    basic = base64.b64encode(f"{unquote(name)}:{unquote(password or '')}".encode()).decode()
    return {"Authorization": f"Basic {basic}"}


def read(cache: Cache, name: str, limit: int) -> bytes | None:
    """All bytes of a name, at most `limit`; None where there is none. Raises action.Fault."""
    pieces = cache.stream(name, limit)
    return None if pieces is None else b"".join(_within(pieces, limit))


def blob(cache: Cache, file: build.File) -> bytes:
    """The bytes of a digest. Raises action.Fault where they are not there, or others."""
    data = read(cache, action.blob(file.sha256), file.size)
    _check(file, None if data is None else (len(data), hashlib.sha256(data).hexdigest()))
    return data or b""


def fetch(cache: Cache, file: build.File, target: Path) -> None:
    """Brings the bytes of a digest into a new file. Raises action.Fault where they are not there, or others."""
    pieces = cache.stream(action.blob(file.sha256), file.size)
    if pieces is None:
        _check(file, None)
        return
    files.make_folder(target.parent)
    taken, size = hashlib.sha256(), 0
    with files.guard("write", target), target.open("xb") as sink:
        for piece in _within(pieces, file.size):
            taken.update(piece)
            size += len(piece)
            sink.write(piece)
    _check(file, (size, taken.hexdigest()))


def _within(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """The pieces, of which nothing is taken beyond the limit."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            msg = f"it sent more than the {limit} bytes that were expected"
            raise action.Fault(msg)
        yield piece


def _check(file: build.File, got: tuple[int, str] | None) -> None:
    if got is None:
        msg = f"it lacks the blob {file.sha256}"
        raise action.Fault(msg)
    if got != (file.size, file.sha256):
        msg = f"it sent {got[0]} bytes of sha256 {got[1]}, expected {file.size} of {file.sha256}"
        raise action.Fault(msg)
