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

from pipeline.edges.embedded import record, sockets

_TICK = 0.001
_QUIET = 0.003
_BUSY = 1.0
_CHUNK = 1 << 16
_HEAD = 1 << 16
_END = b"\r\n\r\n"


def retire(old: record.Running, descriptor: int, name: str, *, place: tuple[str, int], deadline: float) -> bool:
    """Takes a connection from the old server, and gives its next request to the one at `place`, then closes it.

    What the old server has in hand it answers itself: it sees an end of input (`shutdown(2)`, SHUT_RD) and closes its
    descriptor, once the answer is written, while the connection lives on in ours, with all that is unread. Where no
    further request comes until `deadline` (`time.monotonic`), the connection is closed as an idle one. Gives whether
    the connection ended in order; False where the old server had not let go of it by then.
    """
    with sockets.take(old, descriptor) as connection:
        _wait_for_quiet(connection, deadline)
        with contextlib.suppress(OSError):  # the client was faster
            connection.shutdown(socket.SHUT_RD)
        while sockets.has(old, descriptor, name):
            if time.monotonic() > deadline:
                return False
            time.sleep(_TICK)
        head = _first(connection, deadline)
        if head:
            _answer(connection, head, place, deadline)
    return True


def _wait_for_quiet(connection: socket.socket, deadline: float) -> None:
    """Waits until no part of a request is on its way: an end of input amid a request would lose it.

    A connection that is never quiet for so long has requests of one piece, that cannot be cut.
    """
    limit = min(deadline, time.monotonic() + _BUSY)
    before, since = -1, time.monotonic()
    while (now := time.monotonic()) < limit and sockets.established(connection):
        count = sockets.received(connection)
        if count != before:
            before, since = count, now
        elif now - since > _QUIET and count:
            return
        time.sleep(_TICK)


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
