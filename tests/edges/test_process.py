"""Child processes: limits, the whole group killed, environment scrubbed, the last lines kept."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.core import allowance, errors
from pipeline.edges import process
from pipeline.edges.process import lines, usage


def _python(code: str, folder: Path, **more: object) -> process.Finished:
    options: dict[str, object] = {"env": {}, "timeout": 20.0, **more}
    return process.run([sys.executable, "-c", code], cwd=folder, **options)  # type: ignore[arg-type]


def _gone(pid: int) -> bool:
    """True when the process is gone, or dead and waiting for a parent that is not us."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("pass", 0, "ended with exit status 0"),
        ("raise SystemExit(7)", 7, "ended with exit status 7"),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV, "was killed by SIGSEGV"),
        ("import os; os.abort()", -signal.SIGABRT, "was killed by SIGABRT"),
        (
            "import os; os.kill(os.getpid(), 9)",
            -signal.SIGKILL,
            "was killed by SIGKILL (the system may be out of memory)",
        ),
    ],
)
def test_end_is_told_in_words(tmp_path: Path, code: str, status: int, reason: str) -> None:
    """An exit status or the name of the signal tells how the child ended."""
    finished = _python(code, tmp_path)
    assert (finished.code, finished.reason, finished.hit) == (status, reason, "")


def test_hanging_group_is_killed_at_the_limit(tmp_path: Path) -> None:
    """Row 16: a child that hangs, ignores TERM and has children is killed with all of them at the time limit."""
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal, time;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)'])\n"
        "print(os.getpid(), child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    began = time.monotonic()
    finished = _python(code, tmp_path, timeout=0.7)
    assert finished.hit == "time"
    assert finished.reason == "hit its time limit of 0.7 s"
    assert time.monotonic() - began < 0.7 + process.GRACE_SECONDS + 3
    assert all(_gone(int(pid)) for pid in finished.tail[0].split())


def test_grandchild_that_holds_the_output_is_not_waited_for(tmp_path: Path) -> None:
    """A child that ends leaves no grandchild behind, and one that holds the output open delays nothing."""
    code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
    began = time.monotonic()
    finished = _python(code, tmp_path)
    assert finished.code == 0
    assert time.monotonic() - began < 5
    assert _gone(int(finished.tail[0]))


def test_interrupt_kills_the_group(tmp_path: Path) -> None:
    """Ctrl-C while the child runs kills it and passes on."""
    seen: list[int] = []

    def interrupt(line: str) -> None:
        seen.append(int(line))
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        _python("import os, time; print(os.getpid(), flush=True); time.sleep(600)", tmp_path, say=interrupt)
    assert _gone(seen[0])


def test_environment_is_scrubbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 63: no token reaches the child; HOME and TMPDIR are its own and go with it; given variables arrive."""
    monkeypatch.setenv("HF_TOKEN", "canary")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    code = "import os; print(sorted(os.environ)); print(os.environ['HOME']); print(os.environ['GIVEN'])"
    finished = _python(code, tmp_path, env={"GIVEN": "yes"})
    names, home, given = finished.tail
    assert set(eval(names)) <= {*process.KEPT, "HOME", "TMPDIR", "GIVEN"}
    assert home != os.environ.get("HOME")
    assert not Path(home).exists()
    assert given == "yes"


def test_flood_is_bounded(tmp_path: Path) -> None:
    """A child that floods its output ends, and only its last lines are kept, safe to print."""
    said: list[str] = []
    code = "for n in range(200000): print(n)\nprint('\\x1b[31m' + 'x' * 10**6)\nprint('end')"
    finished = _python(code, tmp_path, say=said.append)
    assert finished.code == 0
    assert len(finished.tail) == lines.TAIL_LINES
    assert finished.tail[-1] == "end"
    assert all(len(line) <= lines.LINE_CHARS and "\x1b" not in line for line in finished.tail)
    assert len(said) == lines.SAID_LINES


def test_control_characters_are_escaped(tmp_path: Path) -> None:
    """An escape sequence is shown, not obeyed; of a progress bar the last state stays."""
    finished = _python(r"print('\x1b[31mred'); print('10%\r20%'); import sys; sys.stdout.write('no newline')", tmp_path)
    assert finished.tail == (r"\x1b[31mred", "20%", "no newline")


MIB = 2**20
CHILDREN = """
import os, time
for _ in range(8):
    if not os.fork():
        x = bytearray(50 * 2**20)
        time.sleep(600)
time.sleep(600)
"""
SHARED = "import mmap, time; x = mmap.mmap(-1, 2**30); x.write(bytes(2**30)); time.sleep(600)"
FILES = """
import itertools, os
for n in itertools.count():
    open(f'{os.environ["HOME"]}/{n}', 'wb').write(bytes(2**19))
"""
PROCESSES = "import subprocess, time; each = [subprocess.Popen(['sleep', '600']) for _ in range(60)]; time.sleep(600)"
THREADS = """
import threading, time
for _ in range(60):
    threading.Thread(target=time.sleep, args=(600,)).start()
"""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); x = [bytearray(2**20) for _ in range(20000)]"
LESS, MANY, FEW = allowance.Limits(memory=200 * MIB), allowance.Limits(disk=20 * MIB), allowance.Limits(processes=50)
EATERS = {
    "memory": ("x = bytearray(2**32)", LESS, "memory", "hit its memory limit of 200 MiB"),
    "memory, and is deaf": (DEAF, LESS, "memory", "hit its memory limit of 200 MiB"),
    "memory of many": (CHILDREN, LESS, "memory", "hit its memory limit of 200 MiB"),
    "shared memory": (SHARED, LESS, "memory", "hit its memory limit of 200 MiB"),
    "one file": ("open('big', 'wb').write(bytes(2**25))", MANY, "disk", "hit its disk limit of 20 MiB"),
    "a file that is gone": (
        "import os, sys\ntry:\n    open('big', 'wb').write(bytes(2**25))\nfinally:\n    os.unlink('big')",
        MANY,
        "",
        "hit its disk limit of 20 MiB",
    ),
    "many files": (FILES, MANY, "disk", "hit its disk limit of 20 MiB"),
    "its folder": (FILES.replace('{os.environ["HOME"]}/', ""), MANY, "disk", "hit its disk limit of 20 MiB"),
    "processes": (PROCESSES, FEW, "processes", "hit its limit of 50 processes and threads"),
    "threads": (THREADS, FEW, "processes", "hit its limit of 50 processes and threads"),
}


@pytest.mark.parametrize("eater", EATERS)
def test_limit_is_named(tmp_path: Path, eater: str) -> None:
    """Row 17: a child that takes too much is killed with all its own, the reason names the limit, and we live on."""
    code, limits, hit, reason = EATERS[eater]
    said: list[str] = []
    head = "import os; print(os.getpid(), flush=True)\n"
    began = time.monotonic()
    finished = _python(head + code, tmp_path, limits=limits, folders=(tmp_path,), say=said.append)
    assert finished.code != 0
    assert (finished.hit, finished.reason) == (hit, reason)
    assert time.monotonic() - began < 60
    assert all(_gone(pid) for pid in usage.members(int(said[0])))


def test_an_honest_child_has_room(tmp_path: Path) -> None:
    """Without limits of its own a child may take memory, disk and threads as it needs them, and is asked nothing."""
    code = (
        "import os, threading, time\n"
        "x = bytearray(300 * 2**20); open(os.environ['TMPDIR'] + '/f', 'wb').write(x)\n"
        "each = [threading.Thread(target=time.sleep, args=(1,)) for _ in range(100)]\n"
        "[one.start() for one in each]; [one.join() for one in each]"
    )
    finished = _python(code, tmp_path, limits=allowance.Limits(), folders=(tmp_path,))
    assert (finished.code, finished.hit) == (0, "")


def test_shared_memory_counts_once(tmp_path: Path) -> None:
    """Children that share their parent's memory do not take it again: a pool of workers is no eater."""
    code = (
        "import os, time; x = bytearray(100 * 2**20); [os.fork() or time.sleep(600) for _ in range(10)]; time.sleep(2)"
    )
    finished = _python(code, tmp_path, limits=allowance.Limits(memory=300 * MIB))
    assert (finished.code, finished.hit) == (0, "")


def test_the_kernel_takes_the_child_first(tmp_path: Path) -> None:
    """Where memory runs out all the same, it is the child that the kernel kills, not us."""
    finished = _python("print(open('/proc/self/oom_score_adj').read())", tmp_path)
    assert finished.tail == ("1000", "")


def test_use_is_measured(tmp_path: Path) -> None:
    """What a session has and what files take is what was taken; a folder that is not there takes nothing."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/file").write_bytes(bytes(MIB))
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 2**40)
    (room,) = usage.disks([tmp_path, tmp_path / "none"])
    assert MIB <= room.used < 2 * MIB
    assert room.free
    free = usage.free_memory()
    assert free is not None
    assert 0 < free < 2**50


def test_missing_program_is_a_clear_error(tmp_path: Path) -> None:
    """A program that is not there is an error that names it."""
    with pytest.raises(errors.PipelineError, match=r"cannot start .*nowhere: No such file"):
        process.run([str(tmp_path / "nowhere")], cwd=tmp_path, env={}, timeout=5)
