"""Starts and stops the server's process. When it is ready, and what it serves, is not known here."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import subprocess
import time
from pathlib import Path

import msgspec

from pipeline import edges
from pipeline.core import errors, serverlog
from pipeline.edges import family, files, ports, record
from pipeline.edges.embedded import launch, toolkit, unwritten

NAME = "embedded"
_SHARED = Path("/dev/shm")  # noqa: S108 - where Triton's Python backend keeps its regions
_SLACK = 10.0
_WINDOW = 1 << 20
_children: dict[int, subprocess.Popen[bytes]] = {}
"""Servers that this very process spawned: whoever ends one must reap it."""


def start(wanted: launch.Launch, *, run: Path, say: edges.Say, beside: record.Running | None = None) -> record.Running:
    """Spawns a server in a session of its own, and returns before it is ready.

    `beside` is a server whose HTTP and gRPC ports the new one shares: see `handover`. Each has a `run` of its own.
    `run` gets the record and the log. Raises Unfit where the environment lacks a part, PipelineError where a server
    of this record runs already, where a port is in use, or where the program does not start. Nothing is left then.
    """
    if find(run) is not None:
        msg = "a server of this project runs already"
        raise errors.PipelineError(msg, hint="Stop it with `down` first.")
    tidy(run)
    kit = toolkit.find(wanted.python)
    _check_python(wanted.python)
    backends = toolkit.backends(wanted.backends, wanted.python)
    programs = unwritten.environment(wanted.backends, wanted.python) if wanted.foreign else wanted.python.parent
    ports.check(wanted.ports, record.LOOPBACK, beside.pid if beside else None)
    nonce = secrets.token_hex(16)
    intent = record.Record(
        nonce=nonce, fingerprint=launch.fingerprint(wanted), ports=wanted.ports, stop_timeout=wanted.stop_timeout
    )
    # The record comes first: should this process die between the two, the nonce still finds the server.
    record.write(run, intent)
    try:
        words = launch.command(wanted, server=kit.server, backends=backends, nonce=nonce)
        pid = _spawn(words, launch.environment(programs, kit.libraries), run=run, folder=backends)
        found = family.process(pid)
        record.write(run, msgspec.structs.replace(intent, pid=pid, started=found.started if found else 0))
        running = _appear(run, pid)
    except BaseException:
        tidy(run)
        raise
    if running is None:
        tail = serverlog.tail(_lines(run / "server.log"))
        tidy(run)
        msg = "the server ended at once"
        raise errors.PipelineError(msg, hint="Its last words are above.", details=tail)
    say(f"started Triton, pid {pid}, HTTP on {record.LOOPBACK}:{wanted.ports.http}, log in {run / 'server.log'}")
    return running


def find(run: Path) -> record.Running | None:
    """The server that runs, or None. A record of a process that is gone, or is another one, gives None."""
    known = _known(run)
    leader = family.leader(known.nonce, known.pid, known.started) if known else None
    return record.running(known, run, pid=leader.pid, started=leader.started) if known and leader else None


def lost(run: Path) -> str:
    """What became of a server that was started here and not stopped; empty where it runs, or none was."""
    return "ended" if _known(run) is not None and find(run) is None else ""


def processes(running: record.Running) -> dict[str, dict[str, int]]:
    """How many processes serve each version of each model."""
    return family.versions(each.argv for each in family.members(running.nonce))


def log(running: record.Running) -> list[str]:
    """The last lines that it wrote, a megabyte at the most."""
    return _lines(running.log)


def stop(running: record.Running, *, timeout: float, say: edges.Say) -> None:
    """Ends a server: requests in flight have `timeout` seconds. One that does not end is killed.

    Its stubs, its shared memory and its record are removed; nothing that is not its own is touched.
    """
    say(f"stopping Triton, pid {running.pid}: requests in flight have {timeout:g} s")
    _signal(running, signal.SIGTERM)
    if not _ended(running, timeout + _SLACK):
        say("Triton did not end: killing it")
    tidy(running.run)


def kill(running: record.Running) -> None:
    """Ends a server that never served: at once, with all that is its own."""
    tidy(running.run)


def tidy(run: Path) -> None:
    """Removes what is left of the recorded server: its processes, its shared memory, its record."""
    left = _known(run)
    if left is None:
        return
    deadline = time.monotonic() + _SLACK
    while (members := family.members(left.nonce)) and time.monotonic() < deadline:  # while it lives it starts others
        for each in members:
            _kill(each, left.nonce)
    child = _children.pop(left.pid, None)
    if child is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_SLACK)
    for path in _SHARED.glob(f"pipeline_{left.nonce}_*"):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    record.remove(run)


def alive(running: record.Running) -> bool:
    """Whether the very process still runs."""
    child = _children.get(running.pid)
    if child is not None:
        child.poll()
    found = family.process(running.pid)
    return found is not None and found.started == running.started


def answering(running: record.Running) -> bool:
    """Whether the server itself, and nobody else, listens on its HTTP port: it does when every load has ended."""
    return ports.held([running.ports.http], running.pid)


def listening(running: record.Running) -> bool:
    """Whether the server listens on all its ports; the metrics come some 50 ms after HTTP."""
    return ports.held([running.ports.http, running.ports.grpc, running.ports.metrics], running.pid)


def _appear(run: Path, pid: int) -> record.Running | None:
    """The server, when its words stand on its command line: for a moment of the spawn the kernel shows none."""
    deadline = time.monotonic() + _SLACK
    while (running := find(run)) is None and family.process(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.005)
    return running


def _known(run: Path) -> record.Record | None:
    known = record.read(run)
    return known if known is not None and known.runtime == NAME else None


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _WINDOW))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _spawn(words: list[str], environment: dict[str, str], *, run: Path, folder: Path) -> int:
    """Starts the program with its output in the log. Its folder has nothing that Python could take for a module."""
    path = run / "server.log"
    with files.guard("write", path):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        msg = f"could not start {words[0]}: {error.strerror}"
        raise errors.Unfit(
            msg, hint="Install requirements/torch.txt again: the server's program is damaged."
        ) from error
    finally:
        os.close(descriptor)
    _children[child.pid] = child
    return child.pid


def _check_python(python: Path) -> None:
    """Triton's stub takes the first `python3` on PATH, which must be the environment's own."""
    beside = python.parent / "python3"
    if not beside.exists() or not beside.samefile(python):
        msg = f"{beside} is not the interpreter {python}, and Triton runs models with `python3`"
        raise errors.Unfit(msg, hint="Use a virtual environment for the torch group.")


def _signal(running: record.Running, number: signal.Signals) -> None:
    """Signals the very process: the descriptor is taken first, then looked at, so the pid cannot change hands."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(running.pid)
        try:
            found = family.process(running.pid)
            if found is not None and found.started == running.started:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _kill(each: family.Process, nonce: str) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(each.pid)
        try:
            if any(other.started == each.started and other.pid == each.pid for other in family.members(nonce)):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], _SLACK)
        finally:
            os.close(descriptor)


def _ended(running: record.Running, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(running):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
