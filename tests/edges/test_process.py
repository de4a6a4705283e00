"""Child processes: limits, the whole group killed, environment scrubbed, the last lines kept."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.core import errors
from pipeline.edges import process


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
    assert (finished.code, finished.reason, finished.timed_out) == (status, reason, False)


def test_hanging_group_is_killed_at_the_limit(tmp_path: Path) -> None:
    """A child that hangs, ignores TERM and has children is killed with all of them at the time limit."""
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
    assert finished.timed_out
    assert finished.reason == "was killed at its time limit of 0.7 s"
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
    """No token reaches the child; HOME and TMPDIR are its own and are gone afterwards; given variables arrive."""
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
    assert len(finished.tail) == process.TAIL_LINES
    assert finished.tail[-1] == "end"
    assert all(len(line) <= process.LINE_CHARS and "\x1b" not in line for line in finished.tail)
    assert len(said) == process.SAID_LINES


def test_control_characters_are_escaped(tmp_path: Path) -> None:
    """An escape sequence is shown, not obeyed; of a progress bar the last state stays."""
    finished = _python(r"print('\x1b[31mred'); print('10%\r20%'); import sys; sys.stdout.write('no newline')", tmp_path)
    assert finished.tail == (r"\x1b[31mred", "20%", "no newline")


@pytest.mark.parametrize(
    ("code", "limits", "reason"),
    [
        ("x = bytearray(2**33)", process.Limits(memory_bytes=2**30), "hit its memory limit of 1 GiB"),
        ("f = open('big', 'wb'); f.write(b'0' * 2**21); f.close()", process.Limits(file_bytes=2**20),
         "hit its limit of 1048576 bytes a file"),
    ],
)  # fmt: skip
def test_limit_is_named(tmp_path: Path, code: str, limits: process.Limits, reason: str) -> None:
    """A child that asks for more than its memory or file limit fails, the reason names the limit, we live on."""
    finished = _python(code, tmp_path, limits=limits)
    assert finished.code != 0
    assert finished.reason == reason


def test_missing_program_is_a_clear_error(tmp_path: Path) -> None:
    """A program that is not there is an error that names it."""
    with pytest.raises(errors.PipelineError, match=r"cannot start .*nowhere: No such file"):
        process.run([str(tmp_path / "nowhere")], cwd=tmp_path, env={}, timeout=5)
