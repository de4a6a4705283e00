"""One writer at a time, by the kernel's word alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.core import errors
from pipeline.edges import exclusive
from tests import faults

RACER = """
import sys, time
from pathlib import Path
from pipeline.core import errors
from pipeline.edges import exclusive
lock, count = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(int(sys.argv[3])):
    try:
        with exclusive.hold(lock, command="race", say=lambda line: sys.exit(line)):
            with open(count, "r+") as file:
                value = int(file.read())
                time.sleep(0.002)
                file.seek(0)
                file.write(str(value + 1))
            print("won", flush=True)
    except errors.Busy as busy:
        print(busy, flush=True)
"""
HOLDER = """
import sys, time
from pathlib import Path
from pipeline.edges import exclusive
with exclusive.hold(Path(sys.argv[1]), command="export", say=print):
    print("held", flush=True)
    time.sleep(60)
"""


def start(code: str, *words: str) -> subprocess.Popen[str]:
    """A Python process with this code."""
    command = [sys.executable, "-c", code, *words]
    return subprocess.Popen(
        command, env=faults.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def enter(path: Path) -> None:
    """Takes the lock for a moment."""
    with exclusive.hold(path, command="three", say=print):
        pass


def test_one_of_eight_writes(tmp_path: Path) -> None:
    """Row 26: 8 processes, 50 tries each: no two at once, and each loser is told pid, host and start of a holder."""
    count = tmp_path / "count"
    count.write_text("0")
    racers = [start(RACER, str(tmp_path / "lock"), str(count), "50") for _ in range(8)]
    lines = [line for racer in racers for line in racer.communicate(timeout=60)[0].splitlines()]
    assert [racer.returncode for racer in racers] == [0] * 8
    assert len(lines) == 400
    assert lines.count("won") == int(count.read_text())
    pids = {str(racer.pid) for racer in racers}
    for line in set(lines) - {"won"}:
        assert line.startswith("another run holds this project: "), line
        if "has not said" not in line:
            assert line.split("pid ")[1].split()[0] in pids
            assert socket.gethostname() in line
            assert "since 2" in line
    assert 0 < lines.count("won") < 400


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    """Row 27: after kill -9 the next run proceeds and says that the previous one died; the one after says nothing."""
    path = tmp_path / ".pipeline/lock"
    with start(HOLDER, str(path)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(errors.Busy, match=f"pid {holder.pid} on .*`export`, since 20") as caught:
            enter(path)
        assert caught.value.exit_code == 6
        assert caught.value.hint
        holder.send_signal(signal.SIGKILL)
    said: list[str] = []
    for _ in range(2):
        with exclusive.hold(path, command="apply", say=said.append):
            pass
    assert len(said) == 1
    assert f"The previous run died (pid {holder.pid} on" in said[0]


def test_the_text_decides_nothing(tmp_path: Path) -> None:
    """Row 28: a text that names a living process, or garbage, keeps nobody out."""
    path = tmp_path / "lock"
    alive = json.dumps({"pid": os.getppid(), "host": "h", "command": "c\x1b[2J", "start": "s"}).encode()
    for text in (alive, b"garbage", b"\xff\x00", b"{}"):
        path.write_bytes(text)
        said: list[str] = []
        with exclusive.hold(path, command="plan", say=said.append):
            assert json.loads(path.read_bytes())["pid"] == os.getpid()
        assert len(said) == 1
        assert "\x1b" not in said[0]
        assert path.read_bytes() == b""


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "fifo", "hardlink", "foreign"])
def test_what_is_no_file_of_ours_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 29: a lock file that is a link, a folder, a fifo, a second name or foreign is refused, unharmed."""
    path, other = tmp_path / "lock", tmp_path / "other"
    other.write_bytes(b"theirs")
    match kind:
        case "link":
            path.symlink_to(other)
        case "dangling":
            path.symlink_to(tmp_path / "nothing")
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "hardlink":
            path.hardlink_to(other)
        case "foreign":
            path.touch()
            monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    began = time.monotonic()
    with pytest.raises(errors.PipelineError) as caught:
        enter(path)
    assert time.monotonic() - began < 5
    assert caught.value.exit_code == 1
    assert caught.value.hint
    assert other.read_bytes() == b"theirs"
    assert not (tmp_path / "nothing").exists()


def test_a_lock_file_that_was_removed_keeps_two_apart(tmp_path: Path) -> None:
    """A file that is removed while another run waits on it does not count: the lock is on the file that is there."""
    path = tmp_path / "lock"
    with contextlib.ExitStack() as stack:
        stack.enter_context(exclusive.hold(path, command="one", say=print))
        path.unlink()
        stack.enter_context(exclusive.hold(path, command="two", say=print))
        with pytest.raises(errors.Busy, match="two"):
            enter(path)


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A process started by the holder does not hold the lock after it."""
    path = tmp_path / "lock"
    with exclusive.hold(path, command="one", say=print):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], close_fds=False)
    try:
        with exclusive.hold(path, command="two", say=print):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_lock_on_a_file_that_was_replaced_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file that is replaced between its opening and its locking is opened again."""
    path, honest = tmp_path / "lock", exclusive._open
    opened: list[int] = []

    def replaced(asked: Path) -> int:
        descriptor = honest(asked)
        opened.append(descriptor)
        if len(opened) == 1:
            path.rename(tmp_path / "moved")
            path.touch()
        return descriptor

    monkeypatch.setattr(exclusive, "_open", replaced)
    with exclusive.hold(path, command="one", say=print):
        assert len(opened) == 2
        assert json.loads(path.read_bytes())["command"] == "one"
