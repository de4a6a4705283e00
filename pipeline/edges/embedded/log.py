"""Triton's own log: its last lines, and the reasons in it. What a reason means for the spec is not known here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

_WINDOW = 1 << 20
_LINE = 500
_VERSION = re.compile(r"failed to load '(?P<model>[^']*)' version (?P<version>\d+): (?P<reason>.*)")
_MODEL = re.compile(r"(?:Poll failed for model directory|failed to poll model) '(?P<model>[^']*)': (?P<reason>.*)")
_SERVER = re.compile(r"(?P<reason>(?:failed to start|Failed to start|error: creating server).*)")
_CORE = re.compile(r'^E\d{4} \S+ \d+ tritonserver\.cc:\d+\] "(?P<reason>(?!Invalid argument: load failed).*)"$')
_LOADING = re.compile(r'"loading: (?P<model>[^"]*):(?P<version>\d+)"')
_LOADED = re.compile(r"successfully loaded '(?P<model>[^']*)'")
_TRACE = re.compile(r"\s*(?:\\n)+At:(?:\\n).*$")
_HEAD = re.compile(r"^[EF]\d{4} \S+ \d+ \S+\] ?")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A reason out of the log: about a model's version, a model (its config), or the server (both None)."""

    model: str | None
    version: int | None
    reason: str


def tail(log: Path, lines: int = 20) -> tuple[str, ...]:
    """The last lines, with control characters escaped; empty where there is no log."""
    return tuple(_escape(line)[:_LINE] for line in _read(log)[-lines:])


def faults(log: Path) -> tuple[Fault, ...]:
    """Each reason once, in the log's order."""
    return tuple(dict.fromkeys(_faults(_read(log))))


def loading(log: Path) -> tuple[tuple[str, int], ...]:
    """The models and versions whose first load has begun and, as far as the log says, not ended."""
    begun: dict[tuple[str, int], None] = {}
    ended: set[str] = set()
    for line in _read(log):
        if found := _LOADING.search(line):
            begun[found["model"], int(found["version"])] = None
        elif found := _LOADED.search(line) or _VERSION.search(line):
            ended.add(found["model"])
    return tuple(each for each in begun if each[0] not in ended)


def reason(text: str) -> str:
    """Triton's words without the trace of our own backend's files, on one line."""
    text = _TRACE.sub("", text.strip().removesuffix('"').replace("\n", "\\n"))
    text = (
        text.removeprefix("Internal: ")
        if re.match(r"Internal: (Invalid argument|Internal|Unavailable): ", text)
        else text
    )
    return _escape(text.replace("\\n", " ").replace('\\"', '"').strip(" ;"))


def _faults(lines: list[str]) -> Iterator[Fault]:
    for line in lines:
        if found := _VERSION.search(line):
            yield Fault(model=found["model"], version=int(found["version"]), reason=reason(found["reason"]))
        elif found := _MODEL.search(line):
            yield Fault(model=found["model"], version=None, reason=reason(found["reason"]))
        elif found := _SERVER.search(_HEAD.sub("", line)) or _CORE.match(line):
            yield Fault(model=None, version=None, reason=reason(found["reason"]))


def _read(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _WINDOW))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _escape(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
