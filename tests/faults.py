"""Injects faults into real commands: a kill, or a failing call, at each system call that changes files; a full disk.

`sweep` runs a command once for each place where it can be hurt, and hands the folder that was left to a check. It needs
strace, and `full_disk` needs unshare and mount: where they are missing a test fails, and does not skip.
"""

from __future__ import annotations

import collections
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

CHANGING = (
    "write,pwrite64,writev,copy_file_range,sendfile,ftruncate,fsync,fdatasync,rename,renameat,renameat2,"
    "mkdir,mkdirat,unlink,unlinkat,rmdir,chmod,fchmod,fchmodat,link,linkat,symlink,symlinkat"
)
"""The system calls that change a file or a name. A kill comes before the call: every state in between is seen."""
ROOT = Path(__file__).resolve().parent.parent


class Run(NamedTuple):
    """How a command ended: its exit code (negative for a signal), what it said, and whether the fault happened."""

    code: int
    said: str
    hit: bool


Command = Callable[[Path], Sequence[str]]
"""The command line to run for a folder."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for commands: this repository importable, and no byte code written on the way."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **(extra or {})}


def run(command: Sequence[str], *, inject: str = "", cwd: Path | None = None, timeout: float = 120) -> Run:
    """Runs a command; with `inject` under strace, as in `fsync:error=EIO:when=2`."""
    with tempfile.TemporaryDirectory() as aside:
        log = Path(aside, "log")
        calls = inject.partition(":")[0]
        tracer = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={calls}", "-e", f"inject={inject}"]
        words = [*tracer, *command] if inject else list(command)
        done = subprocess.run(
            words,
            cwd=cwd,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        traced = log.read_text(errors="replace") if inject else ""
    return Run(done.returncode, done.stdout, "INJECTED" in traced or "killed by SIGKILL" in traced)


def places(command: Sequence[str], *, cwd: Path, calls: str = CHANGING) -> list[tuple[str, int]]:
    """Every place where a run can be hurt, each call with its number: strace counts each kind of call, and in each
    process, for itself. Sorted, so that a step through it takes some of every kind."""
    with tempfile.TemporaryDirectory() as aside:
        log = Path(aside, "log")
        result = run(["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={calls}", *command], cwd=cwd)
        assert result.code == 0, result.said
        seen = re.findall(r"^(\d+) +(\w+)\(", log.read_text(errors="replace"), re.MULTILINE)
    most: dict[str, int] = {}
    for (_, call), count in collections.Counter(seen).items():
        most[call] = max(most.get(call, 0), count)
    return [(call, at) for call, count in sorted(most.items()) for at in range(1, count + 1)]


def sweep(
    command: Command,
    start: Path,
    check: Callable[[Path, Run], None],
    *,
    scratch: Path,
    fault: str = "signal=KILL",
    calls: str = CHANGING,
    step: int = 1,
) -> int:
    """Hurts the command at every `step`-th of its calls, each time on a fresh copy of the folder `start`.

    `command` gets the copy, and so does `check`, after the fault. Returns how many runs were hurt.
    """
    hurt = 0
    for call, at in places(command(_copy(start, scratch / "whole")), cwd=scratch / "whole", calls=calls)[::step]:
        folder = _copy(start, scratch / f"{call}-{at}")
        result = run(command(folder), inject=f"{call}:{fault}:when={at}", cwd=folder)
        try:
            if result.hit:
                hurt += 1
                check(folder, result)
        except AssertionError as error:
            error.add_note(f"{fault} at {call} number {at}; it said: {result.said[-2000:]}")
            raise
        discard(folder)
    return hurt


def _copy(start: Path, folder: Path) -> Path:
    return Path(shutil.copytree(start, folder, symlinks=True))


def full_disk(command: Command, start: Path, kilobytes: int, *, scratch: Path) -> tuple[Path, Run]:
    """Runs the command on a copy of `start` on a disk of this size. Returns what was left there, copied out, and how
    it ended. The disk is a tmpfs in a mount namespace of its own."""
    disk, after = scratch / f"disk-{kilobytes}", scratch / f"after-{kilobytes}"
    disk.mkdir()
    after.mkdir()
    script = (
        'mount -t tmpfs -o size="$1"k tmpfs "$2" && cp -a "$3"/. "$2" || exit 99; a="$4"; d="$2"; shift 4; '
        '"$@"; code=$?; cp -a "$d"/. "$a" || exit 98; exit $code'
    )
    words = ["sh", "-c", script, "sh", str(kilobytes), str(disk), str(start), str(after), *command(disk)]
    result = run(["unshare", "-rm", *words])
    assert result.code not in {98, 99, 125, 126, 127}, f"no disk for the test: {result.said}"
    return after, result


def contents(folder: Path, *, without: Sequence[str] = ()) -> dict[str, bytes | str]:
    """Every file of a folder with its bytes, links with their targets; for comparing two folders byte for byte."""
    return {
        name: path.readlink().as_posix() if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if (path.is_symlink() or path.is_file()) and (name := path.relative_to(folder).as_posix()) not in without
    }


def leftovers(folder: Path) -> list[str]:
    """Names of unfinished work anywhere under a folder."""
    return [path.name for path in folder.rglob(".pipeline-*.tmp")]


def discard(folder: Path) -> None:
    """Removes a folder that may have read-only folders in it."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)
