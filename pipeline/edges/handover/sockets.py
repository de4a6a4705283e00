"""The sockets of a server of ours, from outside: found in /proc, duplicated, and steered.

A duplicate (`pidfd_getfd(2)`, Linux 5.6) is the very socket of the server: what is set on it is set for the server too,
and it lives until both have closed it. The kernel allows it to who may trace the server: the same user where
`kernel.yama.ptrace_scope` is 0, else root.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.core import errors
from pipeline.edges import family, record

LISTEN, ESTABLISHED = "0A", "01"
_PIDFD_GETFD = 438
_LIBC = ctypes.CDLL(None, use_errno=True)

# linux/filter.h and asm-generic/socket.h: classic BPF over a packet.
_ATTACH_FILTER, _DETACH_FILTER, _ATTACH_GROUP, _DETACH_GROUP = 26, 27, 51, 68
_LOAD_WORD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_SOURCE = (-0x100000 + 12) & 0xFFFFFFFF  # SKF_NET_OFF, and the place of the source address in an IPv4 header
_NO_CONTENT = (
    (0x30, 0, 0, 12),  # A = the byte of the TCP header that has its length in words, in the upper half
    (0x74, 0, 0, 2),  # A >>= 2
    (0x54, 0, 0, 0x3C),  # A &= 0x3c: the length in bytes
    (0x07, 0, 0, 0),  # X = A
    (0x80, 0, 0, 0),  # A = the packet's length, from the TCP header on
    (0x2D, 0, 1, 0),  # A > X: there is content
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, 0xFFFFFFFF),
)
_INFO_SIZE, _INFO_RECEIVED, _INFO_SENT = 256, 128, 200  # struct tcp_info: tcpi_bytes_received, tcpi_bytes_sent


def find(running: record.Running, port: int, state: str) -> dict[int, str]:
    """The server's descriptors of sockets on a local port, each with the name that /proc gives its socket."""
    wanted = _names(port, state)
    found = {}
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{running.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                name = str(entry.readlink())
                if name in wanted:
                    found[int(entry.name)] = name
    return dict(sorted(found.items()))


def has(running: record.Running, descriptor: int, name: str) -> bool:
    """Whether the server still has this socket open under this descriptor."""
    try:
        return str(Path(f"/proc/{running.pid}/fd/{descriptor}").readlink()) == name
    except OSError:
        return False


def take(running: record.Running, descriptor: int) -> socket.socket:
    """A duplicate of the server's socket. Close it: a listening duplicate keeps the port after the server's end.

    Raises PipelineError where the kernel refuses, OSError where the socket is gone.
    """
    process = os.pidfd_open(running.pid)
    try:
        alive = family.process(running.pid)
        if alive is None or alive.started != running.started:
            raise ProcessLookupError(running.pid)
        taken = _LIBC.syscall(_PIDFD_GETFD, process, descriptor, 0)
        if taken < 0:
            number = ctypes.get_errno()
            if isinstance(OSError(number, ""), PermissionError):
                msg = f"the kernel does not let this user take a socket of pid {running.pid}"
                raise errors.PipelineError(msg, hint="Run as root, or set kernel.yama.ptrace_scope to 0.")
            raise OSError(number, os.strerror(number))
        return socket.socket(fileno=taken)
    finally:
        os.close(process)


@contextlib.contextmanager
def taken(running: record.Running, port: int, state: str) -> Iterator[list[socket.socket]]:
    """Duplicates of all the server's sockets on a port in a state, closed at the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(take(running, descriptor)) for descriptor in find(running, port, state)]


def steer(listener: socket.socket, place: int, *, of: str | None = None, others: int = 0) -> None:
    """Sends new connections to the listener at a place in the group that shares the port, oldest first.

    With `of`, an IPv4 address, only those from there, and the `others` elsewhere. A place that nobody has leaves the
    choice to the kernel (`socket(7)`, SO_ATTACH_REUSEPORT_CBPF). The rule is the group's: it outlives the caller.
    """
    steps = [(_RETURN, 0, 0, place)]
    if of is not None:
        source = int.from_bytes(socket.inet_aton(of), "big")
        steps = [(_LOAD_WORD, 0, 0, _SOURCE), (_EQUAL, 0, 1, source), *steps, (_RETURN, 0, 0, others)]
    _attach(listener, _ATTACH_GROUP, steps)


def free(listener: socket.socket) -> None:
    """Leaves the choice to the kernel again."""
    with contextlib.suppress(FileNotFoundError):  # there was no rule
        listener.setsockopt(socket.SOL_SOCKET, _DETACH_GROUP, 0)


def disconnect(connection: socket.socket) -> None:
    """Back to an unconnected socket that is bound to its port: `connect(2)` with AF_UNSPEC, which Python lacks."""
    nowhere = struct.pack("H14x", socket.AF_UNSPEC)
    if _LIBC.connect(connection.fileno(), nowhere, len(nowhere)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def stopped(connection: socket.socket) -> Iterator[None]:
    """Within the block nothing that the peer sends arrives, but its acknowledgements: it sends it again after (TCP)."""
    _attach(connection, _ATTACH_FILTER, _NO_CONTENT)
    try:
        yield
    finally:
        connection.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


def traffic(connection: socket.socket) -> tuple[int, int]:
    """How many bytes the peer has sent so far, read or not, and how many were sent to it."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    return struct.unpack_from("Q", info, _INFO_RECEIVED)[0], struct.unpack_from("Q", info, _INFO_SENT)[0]


def unread(connection: socket.socket) -> int:
    """How many bytes have arrived that nobody has read."""
    return int.from_bytes(fcntl.ioctl(connection, termios.FIONREAD, b"\0" * 4), sys.byteorder)


def unsent(connection: socket.socket) -> int:
    """How many bytes were written that the peer has not acknowledged."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4), sys.byteorder)


def established(connection: socket.socket) -> bool:
    """Whether the peer has neither closed nor reset the connection."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == int(ESTABLISHED, 16)


def _attach(target: socket.socket, option: int, steps: Sequence[tuple[int, int, int, int]]) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    target.setsockopt(socket.SOL_SOCKET, option, struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))


def _names(port: int, state: str) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for row in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = row.split()
                if fields[3] == state and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found
