"""Ports: whether they are free, and who holds one that is not. Nothing is left bound."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable
from pathlib import Path

from pipeline.core import errors, spec

_LISTEN = "0A"


def check(ports: spec.Ports, address: str, beside: int | None = None) -> None:
    """Raises PipelineError for the first port that cannot be listened on, with the process that holds it.

    A port on which the process `beside` listens, and nobody else, is taken for one that it shares.
    """
    named = {"http": ports.http, "grpc": ports.grpc, "metrics": ports.metrics}
    if len(set(named.values())) < len(named):
        msg = f"target.ports gives one port to two services: {', '.join(f'{k} {v}' for k, v in named.items())}"
        raise errors.PipelineError(msg, hint="Choose three different ports.")
    for name, port in named.items():
        if beside is not None and (listening := _inodes(port)) and listening <= _sockets(Path(f"/proc/{beside}")):
            continue
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind((address, port))
        except OSError as error:
            raise _refusal(name, port, error) from error


def free() -> spec.Ports:
    """Three ports of the loopback address that nobody listens on now, as the system chooses them."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(3):
            each = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            each.bind(("127.0.0.1", 0))
            found.append(int(each.getsockname()[1]))
    return spec.Ports(http=found[0], grpc=found[1], metrics=found[2])


def taken(ports: spec.Ports) -> bool:
    """Whether somebody listens on one of these ports of the loopback address."""
    return any(map(_inodes, (ports.http, ports.grpc, ports.metrics)))


def held(numbers: Iterable[int], pid: int) -> bool:
    """Whether this very process listens on all these ports."""
    sockets = _sockets(Path(f"/proc/{pid}"))
    return all(sockets & _inodes(number) for number in numbers)


def holder(port: int) -> str:
    """Who listens on a port, such as `pid 4711 (python3)`; empty where that cannot be seen."""
    wanted = _inodes(port)
    for folder in Path("/proc").glob("[0-9]*") if wanted else ():
        if wanted & _sockets(folder):
            with contextlib.suppress(OSError):
                command = Path(folder, "comm").read_text(encoding="utf-8", errors="replace").strip()
                return f"pid {folder.name} ({command})"
    return ""


def _refusal(name: str, port: int, error: OSError) -> errors.PipelineError:
    if error.errno != errno.EADDRINUSE:
        msg = f"cannot listen on the {name} port {port}: {error.strerror}"
        return errors.PipelineError(msg, hint=f"Choose another under target.ports.{name}.")
    who = holder(port)
    msg = f"the {name} port {port} is in use{f' by {who}' if who else ''}"
    return errors.PipelineError(msg, hint=f"Stop what holds it, or choose another under target.ports.{name}.")


def _inodes(port: int) -> set[str]:
    """The sockets that listen on a port, as /proc/PID/fd names them (`proc(5)`: address:port in hexadecimal)."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in (row.split() for row in rows):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _sockets(process: Path) -> set[str]:
    """What a process of /proc has open, as far as one may look."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in Path(process, "fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(str(entry.readlink()))
    return found
