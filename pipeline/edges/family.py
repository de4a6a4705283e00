"""The processes of a server, as /proc has them: found by the nonce on their command lines.

A pid alone is never trusted. A process belongs to a server when it is one of Triton's programs and has the server's
nonce in its words; the server itself, where the record knows it, also started when the record says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import msgspec

_STUB = "triton_python_backend_stub"
_PROGRAMS = frozenset({"tritonserver", _STUB})


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process as /proc has it. `started` is in clock ticks since the machine's boot."""

    pid: int
    started: int
    argv: tuple[str, ...]


def leader(nonce: str, pid: int = 0, started: int = 0) -> Process | None:
    """The server's own process: the one of this pid and start, or, without a pid, anywhere; None where it is gone."""
    for each in [process(pid)] if pid else _all():
        if each is None or (pid and each.started != started):
            continue
        if f"--id=pipeline-{nonce}" in each.argv and _is_ours(each, nonce):
            return each
    return None


def members(nonce: str) -> tuple[Process, ...]:
    """Every living process of a server: itself and its stubs."""
    return tuple(each for each in _all() if _is_ours(each, nonce))


def versions(words: Iterable[tuple[str, ...]]) -> dict[str, dict[str, int]]:
    """How many processes serve each version of each model: Triton's stubs have the version's file in their words."""
    found: dict[str, dict[str, int]] = {}
    for argv in words:
        if len(argv) > 1 and PurePosixPath(argv[0]).name == _STUB:
            folder = PurePosixPath(argv[1]).parent
            counted = found.setdefault(folder.parent.name, {})
            counted[folder.name] = counted.get(folder.name, 0) + 1
    return found


def process(pid: int) -> Process | None:
    """A living process, or None where it is gone or only waits to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    # The command's name stands in brackets and may itself hold blanks and brackets: what follows the last is fixed.
    fields = state.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return None
    argv = tuple(word.decode("utf-8", "replace") for word in words.split(b"\0")[:-1])
    return Process(pid=pid, started=int(fields[19]), argv=argv)


def _is_ours(each: Process, nonce: str) -> bool:
    """Whether it is one of a server's programs. Triton starts a stub by a shell, which is one already: else the stub
    would appear after all others were ended."""
    words = each.argv
    if len(words) == 3 and words[0].endswith("sh") and words[1] == "-c":
        words = tuple(words[2].partition("exec ")[2].split())
    return bool(words) and Path(words[0]).name in _PROGRAMS and any(nonce in word for word in words)


def _all() -> Iterator[Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        if (found := process(int(folder.name))) is not None:
            yield found
