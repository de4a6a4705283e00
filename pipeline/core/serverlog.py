"""Triton's own log: its last lines, and the reasons in it. What a reason means for the spec is not known here.

The lines are read by whoever runs the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

_LINE = 500
_VERSION = re.compile(r"failed to load '(?P<model>[^']*)' version (?P<version>\d+): (?P<reason>.*)")
_MODEL = re.compile(r"(?:Poll failed for model directory|failed to poll model) '(?P<model>[^']*)': (?P<reason>.*)")
_SERVER = re.compile(r"(?P<reason>(?:failed to start|Failed to start|error: creating server).*)")
_CORE = re.compile(r'^E\d{4} \S+ \d+ tritonserver\.cc:\d+\] "(?P<reason>(?!Invalid argument: load failed).*)"$')
# The Python backend gives up a lock of its shared memory after 10 s (Boost.Interprocess, as its build sets it).
_STARVED = re.compile(r"boost::interprocess::lock_exception")
_LOADING = re.compile(r'"loading: (?P<model>[^"]*):(?P<version>\d+)"')
_LOADED = re.compile(r"successfully loaded '(?P<model>[^']*)'")
_TRACE = re.compile(r"\s*(?:\\n)+At:(?:\\n).*$")
_HEAD = re.compile(r"^[EF]\d{4} \S+ \d+ \S+\] ?")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A reason out of the log: about a model's version, a model (its config), or the server (both None)."""

    model: str | None
    version: int | None
    reason: str


def tail(lines: Sequence[str], count: int = 20) -> tuple[str, ...]:
    """The last lines, with control characters escaped."""
    return tuple(_escape(line)[:_LINE] for line in lines[-count:])


def faults(lines: Iterable[str]) -> tuple[Fault, ...]:
    """Each reason once, in the log's order."""
    return tuple(dict.fromkeys(_faults(lines)))


def loading(lines: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """The models and versions whose first load has begun and, as far as the log says, not ended."""
    begun: dict[tuple[str, int], None] = {}
    ended: set[str] = set()
    for line in lines:
        if found := _LOADING.search(line):
            begun[found["model"], int(found["version"])] = None
        elif found := _LOADED.search(line) or _VERSION.search(line):
            ended.add(found["model"])
    return tuple(each for each in begun if each[0] not in ended)


def is_starved(lines: Iterable[str]) -> bool:
    """Whether the server gave up as its processes waited too long for one another: the same start may go well."""
    return any(_STARVED.search(line) for line in lines)


def reason(text: str) -> str:
    """Triton's words without the trace of our own backend's files, on one line."""
    text = _TRACE.sub("", text.strip().removesuffix('"').replace("\n", "\\n"))
    text = (
        text.removeprefix("Internal: ")
        if re.match(r"Internal: (Invalid argument|Internal|Unavailable): ", text)
        else text
    )
    return _escape(text.replace("\\n", " ").replace('\\"', '"').strip(" ;"))


def _faults(lines: Iterable[str]) -> Iterator[Fault]:
    for line in lines:
        if found := _VERSION.search(line):
            yield Fault(model=found["model"], version=int(found["version"]), reason=reason(found["reason"]))
        elif found := _MODEL.search(line):
            yield Fault(model=found["model"], version=None, reason=reason(found["reason"]))
        elif found := _SERVER.search(_HEAD.sub("", line)) or _CORE.match(line):
            yield Fault(model=None, version=None, reason=reason(found["reason"]))
        elif _STARVED.search(line):
            why = "its processes waited 10 s for one another, and it gave up: this machine is too busy for them"
            yield Fault(model=None, version=None, reason=why)


def _escape(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
