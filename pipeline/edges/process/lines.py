"""What a child says: its output read while it runs, in lines that are safe to print."""

from __future__ import annotations

import collections
import contextlib
import os
import selectors
import subprocess
import time

from pipeline import edges

TAIL_LINES = 40
LINE_CHARS = 500
SAID_LINES = 200
TICK_SECONDS = 0.05
DRAIN_SECONDS = 1.0
"""So long is read on after a child's end: one of its own children may go on talking for ever."""


class Lines:
    """The last lines of a child; the first ones go to `say` as they come."""

    def __init__(self, child: subprocess.Popen[bytes], say: edges.Say) -> None:
        assert child.stdout is not None  # noqa: S101 - whoever started it has asked for it
        self._child, self._say, self._pipe = child, say, child.stdout.fileno()
        self._kept: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self._rest, self._said, self._open = b"", 0, True
        self._end: float | None = None

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines until now."""
        return tuple(self._kept)

    def more(self, deadline: float) -> bool:
        """Reads for a moment; False when the child has ended and all is read.

        It may close its output before it ends, and its children may hold that open after it has.
        """
        wait = max(0.0, min(TICK_SECONDS, deadline - time.monotonic()))
        data = self._read(wait)
        if self._child.poll() is None:
            return True
        self._end = self._end or time.monotonic() + DRAIN_SECONDS
        if data and time.monotonic() < self._end:
            return True
        if self._rest:
            self._take(self._rest)
            self._rest = b""
        return False

    def _read(self, wait: float) -> bytes:
        if not self._open:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(wait)
            return b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            if not selector.select(wait):
                return b""
        data = os.read(self._pipe, 65536)
        self._open = bool(data)
        *whole, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-LINE_CHARS * 4 :]
        for line in whole:
            self._take(line)
        return data

    def _take(self, line: bytes) -> None:
        text = _readable(line)
        self._kept.append(text)
        if self._said < SAID_LINES:
            self._said += 1
            self._say(text)


def _readable(line: bytes) -> str:
    """A line that is safe to print: control characters escaped, a progress bar's last state, bounded length."""
    text = line.rstrip(b"\r").rsplit(b"\r", 1)[-1][: LINE_CHARS * 4].decode("utf-8", "backslashreplace")
    text = "".join(sign if sign.isprintable() or sign == "\t" else ascii(sign)[1:-1] for sign in text)
    return text if len(text) <= LINE_CHARS else text[: LINE_CHARS - 3] + "..."
