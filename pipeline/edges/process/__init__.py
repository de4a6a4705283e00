"""Child processes under limits: time, memory, disk, number of processes, a scrubbed environment, the last lines kept.

Here lives how a child is started, watched and ended. What the child does, and what its lines mean, is not known here.
Other rooms import this package, not its parts: `usage` measures what a child has, `lines` reads what it says.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from pipeline import edges
from pipeline.core import allowance, errors
from pipeline.edges.process import lines, usage

KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")
"""What a child gets of this process's environment. HOME and TMPDIR are a folder of its own; nothing else passes."""

GRACE_SECONDS = 3.0
OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "can't allocate memory", "Cannot allocate memory", "not enough memory")
FILE_TOO_LARGE = ("File too large", "SIGXFSZ", os.strerror(errno.EFBIG))

Hit = Literal["", "time", "memory", "disk", "processes"]


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """How a child ended. `code` is its exit status, or minus the number of the signal that ended it; `tail` its last
    lines (standard output and error together, control characters escaped); `reason` says the end in words, such as
    `hit its time limit of 900 s` or `was killed by SIGSEGV`; `hit` is the limit that it was killed for, if any.
    """

    code: int
    tail: tuple[str, ...]
    reason: str
    hit: Hit = ""


def run(  # noqa: PLR0913 - each is a fact about the child
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    limits: allowance.Limits | None = None,
    folders: Sequence[Path] = (),
    say: edges.Say = lambda _: None,
) -> Finished:
    """Run `argv` to its end; kill its whole process group after `timeout` seconds, at a limit, or when this process is
    interrupted.

    The child sees the variables of KEPT, a HOME and TMPDIR that are removed afterwards, and `env` over these. What it
    writes there and into `folders` counts as its disk. `say` gets its first lines as they come. Raises
    errors.PipelineError when the program cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-child-", ignore_cleanup_errors=True) as home:
        child = _start(argv, cwd, _environment(env, home))
        hit: Hit = ""
        try:
            _limit(child.pid, limits)
            watch = usage.Watch(child.pid, limits, (Path(home), *folders))
            said = lines.Lines(child, say)
            hit, reason = _follow(said, watch, timeout)
            if not hit and child.returncode and (full := watch.full()):  # the kernel has stopped it at the limit
                hit, reason = full.kind, full.words
        finally:
            _end(child, GRACE_SECONDS if hit in {"", "time"} else 0.0)
    return Finished(
        code=child.returncode, tail=said.tail, reason=reason or _reason(child.returncode, said.tail, limits), hit=hit
    )


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


def _limit(pid: int, limits: allowance.Limits | None) -> None:
    """What the kernel itself can see to: no core dump, no single file above the limit, and, where memory runs out all
    the same, the child is killed and not its parent. From outside: code between fork and exec is not safe."""
    if not hasattr(resource, "prlimit"):
        return
    wanted = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: limits.disk if limits else None}
    for kind, number in wanted.items():
        if number is None:
            continue
        with contextlib.suppress(ProcessLookupError):
            _, hard = resource.prlimit(pid, kind)
            number = number if hard == resource.RLIM_INFINITY else min(number, hard)  # noqa: PLW2901
            resource.prlimit(pid, kind, (number, number))
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


def _follow(said: lines.Lines, watch: usage.Watch, timeout: float) -> tuple[Hit, str]:
    """Waits until the child ends; the limit that it hit before, and that in words, or nothing."""
    deadline = time.monotonic() + timeout
    while said.more(deadline):
        if time.monotonic() >= deadline:
            return "time", f"hit its time limit of {timeout:g} s"
        breach = watch.breach()
        if breach is not None:
            return breach.kind, breach.words
    return "", ""


def _end(child: subprocess.Popen[bytes], grace: float) -> None:
    """Kill what is left of the group: TERM, a grace for the child itself, KILL. The group may outlive its leader, and
    one that takes too much has no grace to take more.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(grace)
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _reason(code: int, tail: Sequence[str], limits: allowance.Limits | None) -> str:
    """The end in words, of a child that nobody killed."""
    disk = limits.disk if limits else None
    if disk is not None and (code == -signal.SIGXFSZ or (code != 0 and _tells(tail, FILE_TOO_LARGE))):
        return f"hit its disk limit of {allowance.shown(disk)}"
    if code != 0 and _tells(tail, OUT_OF_MEMORY):
        return "ran out of memory"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"was killed by {name}" + (" (the system may be out of memory)" if code == -signal.SIGKILL else "")
    return f"ended with exit status {code}"


def _tells(tail: Sequence[str], signs: Sequence[str]) -> bool:
    return any(sign in line for line in tail for sign in signs)
