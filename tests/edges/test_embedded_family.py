"""Which processes belong to a server and end with it: those on their way to be one too, and nobody else's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.core import spec
from pipeline.edges import family, record
from pipeline.edges.embedded import server

NONCE = "0123456789abcdef" * 2
REGION = f"pipeline_{NONCE}_shm_region_1"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a record whose server is gone."""
    known = record.Record(nonce=NONCE, fingerprint="", ports=spec.Ports(), stop_timeout=1.0, pid=1, started=1)
    record.write(tmp_path, known)
    return tmp_path


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a shell under any name that waits, until it is ended here or in the test, before it does what it says."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(text: str, *words: str, name: str = "bash") -> subprocess.Popen[bytes]:
        line = (name, "-c", f"read && {text}", *words)
        started.append(subprocess.Popen(line, executable="/bin/bash", stdin=subprocess.PIPE))
        return started[-1]

    yield begin
    for each in started:
        each.kill()
        each.communicate()


def test_a_shell_that_becomes_a_stub_is_ended(run: Path, start: Start) -> None:
    """Triton starts a stub by a shell that executes it: killed in between, no stub appears later."""
    shell = start(f" exec /b/python/triton_python_backend_stub /m/tiny/1/model.py {REGION} 1048576")
    server.tidy(run)
    assert shell.wait(5) == -9


def test_a_shell_of_somebody_else_lives(run: Path, start: Start) -> None:
    """A shell that only names the server, or that executes another server's stub, is left alone."""
    others = [
        start(f"grep {REGION} /var/log/syslog"),
        start(f"ls /b/triton_python_backend_stub; echo {NONCE}"),
        start(f" exec /b/triton_python_backend_stub /m/1/model.py {REGION.replace('0', '1')} 1048576"),
    ]
    server.tidy(run)
    assert [other.poll() for other in others] == [None] * 3


def test_what_is_born_while_it_is_ended_is_ended_too(run: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stub that the server has started after the look at its family does not outlive it."""
    leader, stub = (start("true", REGION, name=name) for name in ("tritonserver", "triton_python_backend_stub"))
    honest, looks = family.members, [0]

    def members(nonce: str) -> tuple[family.Process, ...]:
        looks[0] += 1
        return tuple(each for each in honest(nonce) if looks[0] > 1 or each.pid == leader.pid)

    monkeypatch.setattr(family, "members", members)
    server.tidy(run)
    assert (leader.wait(5), stub.wait(5)) == (-9, -9)


def test_a_server_whose_words_are_not_there_yet_is_waited_for(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel shows no command line for a moment of the spawn: that is no server that has ended."""
    known = record.read(run)
    assert known
    there = record.running(known, run, pid=os.getpid(), started=1)
    looks = iter([None, None, there])
    monkeypatch.setattr(server, "find", lambda _: next(looks))
    assert server._appear(run, os.getpid()) == there


def test_a_server_that_has_ended_is_not_waited_for(run: Path, start: Start) -> None:
    """What has ended by itself is told at once."""
    child = start("true")
    child.kill()
    child.wait(5)
    assert server._appear(run, child.pid) is None
