"""The journal of the run that is at work: which step it has got to. The next run reads what a dead one left.

It is information, never a decision: what is to be done is found by looking at files and server. Only the holder of
the writer lock may write here.
"""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import msgspec

from pipeline.edges import files

_LIMIT = 1 << 16


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has written down: its command, the release it works for, the step it is in, and its start in UTC."""

    command: str
    start: str
    release: str = ""
    step: str = ""


class Journal:
    """The journal in the file `path`, from its making to `end`."""

    def __init__(self, path: Path, command: str) -> None:
        self._path = path
        self._began = time.monotonic()
        start = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._now = Left(command=command, start=start)

    @property
    def command(self) -> str:
        """The command at work."""
        return self._now.command

    @property
    def start(self) -> str:
        """When the run began, in UTC: for people, nothing is decided by it."""
        return self._now.start

    @property
    def seconds(self) -> float:
        """How long the run has lasted, by a clock that nobody can set."""
        return round(time.monotonic() - self._began, 1)

    def step(self, name: str, release: str = "") -> None:
        """Writes down, before it is done, what is done next."""
        self._now = msgspec.structs.replace(self._now, step=name, release=release or self._now.release)
        files.write(self._path, msgspec.json.encode(self._now) + b"\n")

    def end(self) -> None:
        """The run ends in order, well or not: nothing is left to tell."""
        with files.guard("remove", self._path):
            self._path.unlink(missing_ok=True)


def left(path: Path) -> Left | None:
    """What a run that died has left; None where none did. A torn journal tells that there was one."""
    text = files.read(path, _LIMIT)
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=Left)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Left(command="unknown", start="unknown", step="unknown")
