"""The last answer on a kept HTTP connection: from another server, with word that the connection ends.

A client that keeps its connection may send at any moment: whoever closes it may close it in its face, and many clients,
tritonclient's among them, report that as a failed request (RFC 9112, section 9.5). No answer is lost only where the
server says `Connection: close` with the last one. Triton never does; it is done here in its place.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time

from pipeline.edges import record
from pipeline.edges.handover import sockets

_TICK = 0.001
_QUIET = 1.0
_CONTINUE = 32  # `100 Continue` is shorter, and the only thing that a server says amid a request
_CHUNK = 1 << 16
_HEAD = 1 << 16
_END = b"\r\n\r\n"


def retire(old: record.Running, held: tuple[int, str], *, place: tuple[str, int], deadline: float, idle: float) -> bool:
    """Takes a connection from the old server, and gives its next request to the one at `place`, then closes it.

    `held` is the connection's descriptor there and its name, as `sockets.find` gives them.

    What the old server has in hand it answers itself: it sees an end of input (`shutdown(2)`, SHUT_RD) and closes its
    descriptor, once the answer is written, while the connection lives on in ours, with all that is unread. Where no
    further request comes within `idle` seconds, the connection is closed. Gives whether it ended in order; False where
    the old server had not let go of it by `deadline` (`time.monotonic`).
    """
    with sockets.take(old, held[0]) as connection:
        while not _released(connection, old, held, deadline):
            if time.monotonic() > deadline:
                return False
            time.sleep(_TICK)
        head = _first(connection, min(deadline, time.monotonic() + idle))
        if head:
            _answer(connection, head, place, deadline)
    return True


def _released(connection: socket.socket, old: record.Running, held: tuple[int, str], deadline: float) -> bool:
    """Waits for a moment between requests, and ends the old server's input; False where the moment has passed.

    Nothing must arrive between the look and the old server's close: it would read a part of a request, and lose it.
    """
    before = _between(connection, deadline)
    with contextlib.suppress(OSError), sockets.stopped(connection):  # OSError: the client was faster
        if sockets.established(connection) and (sockets.unread(connection) or sockets.traffic(connection)[0] != before):
            return False
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RD)
        while sockets.has(old, *held):
            if time.monotonic() > deadline:
                return False
            time.sleep(_TICK)
    return True


def _between(connection: socket.socket, deadline: float) -> int:
    """Waits until no request is under way to the server, and gives how many bytes it had from the client by then.

    That is so when an answer has gone out since the last byte came in, or nothing has come for long: then the
    connection is idle, or the server is at work on a whole request.
    """
    received, sent = sockets.traffic(connection)
    since = time.monotonic()
    while (now := time.monotonic()) < deadline and sockets.established(connection):
        came, went = sockets.traffic(connection)
        if came != received:
            received, sent, since = came, went, now
        elif went - sent > _CONTINUE or now - since > _QUIET:
            break
        time.sleep(_TICK)
    return received


def _first(connection: socket.socket, deadline: float) -> bytes:
    """The head of the next request and what came with it, or nothing where none comes.

    The input has been ended for the old server's sake, so that a read never waits; what the client sends is there.
    """
    found = b""
    while _END not in found and len(found) < _HEAD:
        more = _unread(connection)
        found += more
        if not more:
            if time.monotonic() > deadline or not sockets.established(connection):
                return b""
            time.sleep(_TICK)
    return found


def _answer(connection: socket.socket, head: bytes, place: tuple[str, int], deadline: float) -> None:
    """Passes bytes on, both ways, until the other server ends the connection as it was asked to."""
    with contextlib.suppress(OSError), socket.create_connection(place) as other:
        connection.settimeout(max(1.0, deadline - time.monotonic()))
        other.sendall(_last(head))
        while True:
            if select.select([other], [], [], _TICK)[0]:
                answer = other.recv(_CHUNK)
                if not answer:
                    return
                connection.sendall(answer)
            elif more := _unread(connection):
                other.sendall(more)
            elif not sockets.established(connection):
                return


def _last(request: bytes) -> bytes:
    """The request with `Connection: close`: the server answers with the same header, and closes."""
    head, _, body = request.partition(_END)
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"connection:", b"keep-alive:"))]
    return b"\r\n".join([*lines, b"Connection: close"]) + _END + body


def _unread(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_CHUNK, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""
    except ConnectionError:
        return b""
