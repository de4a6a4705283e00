"""Ports: whether they are free, and who holds one that is not. Nothing is left bound."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from pipeline.core import errors, spec

_LISTEN = "0A"


def check(ports: spec.Ports, address: str) -> None:
    """Raises PipelineError for the first port that cannot be listened on, with the process that holds it."""
    named = {"http": ports.http, "grpc": ports.grpc, "metrics": ports.metrics}
    if len(set(named.values())) < len(named):
        msg = f"target.ports gives one port to two services: {', '.join(f'{k} {v}' for k, v in named.items())}"
        raise errors.PipelineError(msg, hint="Choose three different ports.")
    for name, port in named.items():
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind((address, port))
        except OSError as error:
            raise _refusal(name, port, error) from error


def holder(port: int) -> str:
    """Who listens on a port, such as `pid 4711 (python3)`; empty where that cannot be seen."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    for folder in Path("/proc").glob("[0-9]*") if wanted else ():
        try:
            if any(str(entry.readlink()) in wanted for entry in Path(folder, "fd").iterdir()):
                command = Path(folder, "comm").read_text(encoding="utf-8", errors="replace").strip()
                return f"pid {folder.name} ({command})"
        except OSError:
            continue
    return ""


def _refusal(name: str, port: int, error: OSError) -> errors.PipelineError:
    if error.errno != errno.EADDRINUSE:
        msg = f"cannot listen on the {name} port {port}: {error.strerror}"
        return errors.PipelineError(msg, hint=f"Choose another under target.ports.{name}.")
    who = holder(port)
    msg = f"the {name} port {port} is in use{f' by {who}' if who else ''}"
    return errors.PipelineError(msg, hint=f"Stop what holds it, or choose another under target.ports.{name}.")


def _inodes(port: int) -> set[str]:
    """The socket inodes that listen on a port, from the kernel's tables (`proc(5)`: address:port in hexadecimal)."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in (row.split() for row in rows):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found
