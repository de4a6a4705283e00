"""Child processes under limits: time, memory and file size, a scrubbed environment, the last lines kept.

Here lives how a child is started, watched and ended. What the child does, and what its lines mean, is not known here.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import os
import resource
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from pipeline import edges
from pipeline.core import errors

KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")
"""What a child gets of this process's environment. HOME and TMPDIR are a folder of its own; nothing else passes."""

TAIL_LINES = 40
LINE_CHARS = 500
SAID_LINES = 200
GRACE_SECONDS = 3.0
TICK_SECONDS = 0.05
OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "can't allocate memory", "Cannot allocate memory", "not enough memory")
FILE_TOO_LARGE = ("File too large", "SIGXFSZ", os.strerror(errno.EFBIG))


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a child may use: bytes of address space, bytes of any one file it writes. None sets no limit."""

    memory_bytes: int | None = None
    file_bytes: int | None = None


NO_LIMITS = Limits()


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """How a child ended. `code` is its exit status, or minus the number of the signal that ended it; `tail` its last
    lines (standard output and error together, control characters escaped); `reason` says the end in words, such as
    `was killed at its time limit of 900 s` or `was killed by SIGSEGV`.
    """

    code: int
    tail: tuple[str, ...]
    reason: str
    timed_out: bool = False


def run(  # noqa: PLR0913 - each is a fact about the child
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    limits: Limits = NO_LIMITS,
    say: edges.Say = lambda _: None,
) -> Finished:
    """Run `argv` to its end; kill its whole process group after `timeout` seconds or when this process is interrupted.

    The child sees the variables of KEPT, a HOME and TMPDIR that are removed afterwards, and `env` over these. `say`
    gets the first SAID_LINES lines as they come. Raises errors.PipelineError when the program cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-child-", ignore_cleanup_errors=True) as home:
        child = _start(argv, cwd, _environment(env, home))
        try:
            _limit(child.pid, limits)
            lines: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
            timed_out = _watch(child, time.monotonic() + timeout, lines, say)
        finally:
            _end(child)
    code = child.returncode
    tail = tuple(lines)
    reason = f"was killed at its time limit of {timeout:g} s" if timed_out else _reason(code, tail, limits)
    return Finished(code=code, tail=tail, reason=reason, timed_out=timed_out)


def _environment(env: Mapping[str, str], home: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "HOME": home, "TMPDIR": home, **env}


def _start(argv: Sequence[str], cwd: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """A child in a session of its own, so that it and its children can be killed as one group."""
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        msg = f"cannot start {argv[0]}: {error.strerror}"
        raise errors.PipelineError(msg, hint="Check that the program is there and may be executed.") from error


def _limit(pid: int, limits: Limits) -> None:
    """Set the limits from outside (prlimit of Linux): code between fork and exec is not safe beside threads."""
    if not hasattr(resource, "prlimit"):
        return
    wanted = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for kind, number in wanted.items():
        if number is None:
            continue
        with contextlib.suppress(ProcessLookupError):
            _, hard = resource.prlimit(pid, kind)
            number = number if hard == resource.RLIM_INFINITY else min(number, hard)  # noqa: PLW2901
            resource.prlimit(pid, kind, (number, number))


def _watch(child: subprocess.Popen[bytes], deadline: float, lines: collections.deque[str], say: edges.Say) -> bool:
    """Collect lines until the child ends; True when the deadline came first."""
    said = 0
    for line in _lines(child, deadline):
        lines.append(line)
        if said < SAID_LINES:
            said += 1
            say(line)
    try:
        child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return True
    return False


def _lines(child: subprocess.Popen[bytes], deadline: float) -> Iterator[str]:
    """The child's lines until it closes its output, ends (a grandchild may hold the output open) or the deadline."""
    assert child.stdout is not None  # noqa: S101 - asked for in _start
    pipe = child.stdout.fileno()
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(min(left, TICK_SECONDS)):
                if child.poll() is not None:
                    break
                continue
            data = os.read(pipe, 65536)
            if not data:
                break
            *whole, rest = (rest + data).split(b"\n")
            rest = rest[-LINE_CHARS * 4 :]
            yield from map(_readable, whole)
    if rest:
        yield _readable(rest)


def _readable(line: bytes) -> str:
    """A line that is safe to print: control characters escaped, a progress bar's last state, bounded length."""
    text = line.rstrip(b"\r").rsplit(b"\r", 1)[-1][: LINE_CHARS * 4].decode("utf-8", "backslashreplace")
    text = "".join(sign if sign.isprintable() or sign == "\t" else ascii(sign)[1:-1] for sign in text)
    return text if len(text) <= LINE_CHARS else text[: LINE_CHARS - 3] + "..."


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group: TERM, a grace for the child itself, KILL. The group may outlive its leader."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_SECONDS)
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _reason(code: int, tail: Sequence[str], limits: Limits) -> str:
    """The end in words. A limit is named where one was set and the last lines tell of it."""
    if code != 0 and limits.memory_bytes is not None and _tells(tail, OUT_OF_MEMORY):
        return f"hit its memory limit of {limits.memory_bytes / 2**30:.2g} GiB"
    if code == -signal.SIGXFSZ or (code != 0 and limits.file_bytes is not None and _tells(tail, FILE_TOO_LARGE)):
        return f"hit its limit of {limits.file_bytes or 0} bytes a file"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"was killed by {name}" + (" (the system may be out of memory)" if code == -signal.SIGKILL else "")
    return f"ended with exit status {code}"


def _tells(tail: Sequence[str], signs: Sequence[str]) -> bool:
    return any(sign in line for line in tail for sign in signs)
