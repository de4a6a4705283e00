"""The last answer on a kept connection, with an old server of a few lines in this process and a new one beside it."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core import spec
from pipeline.edges import family, record
from pipeline.edges.handover import relay, sockets
from tests import standin

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold"


class Old:
    """A server that answers each request with `old`, as slowly as it is told, and closes at the end of its input."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.seconds = 0.0
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        connection, _ = self.listener.accept()
        while connection.recv(1 << 16):
            time.sleep(self.seconds)
            connection.sendall(ANSWER)
        connection.close()

    @property
    def running(self) -> record.Running:
        """This process as the edge knows servers."""
        ours = family.process(os.getpid())
        assert ours is not None
        return record.Running(
            pid=ours.pid,
            started=ours.started,
            nonce="",
            fingerprint="",
            ports=spec.Ports(http=self.port),
            stop_timeout=1,
            run=Path("nowhere"),
        )


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is quiet sooner than in earnest."""
    monkeypatch.setattr(relay, "_QUIET", 0.1)


@pytest.fixture
def old() -> Iterator[Old]:
    """An old server, whose one connection is over at the end."""
    found = Old()
    yield found
    found.thread.join(10)
    found.listener.close()


@pytest.fixture
def new() -> Iterator[standin.Triton]:
    """The other server."""
    with standin.serve() as found:
        found.id = "new"
        yield found


def ask(connection: http.client.HTTPConnection) -> bytes:
    """One request over the connection as it is."""
    connection.request("GET", "/v2", headers={"Connection": "keep-alive"})
    return connection.getresponse().read()


def established(old: Old) -> dict[int, str]:
    """The old server's connection, once it is there."""
    while not (found := sockets.find(old.running, old.port, sockets.ESTABLISHED)):
        time.sleep(0.001)
    return found


class Retiring(threading.Thread):
    """The old server's connection, taken over."""

    def __init__(self, old: Old, new: standin.Triton, seconds: float = 5.0, idle: float = 5.0) -> None:
        super().__init__()
        self.old, self.new, self.deadline, self.idle = old, new, time.monotonic() + seconds, idle
        self.ended: bool | None = None
        self.start()

    def run(self) -> None:
        (held,) = established(self.old).items()
        place = ("127.0.0.1", self.new.http)
        self.ended = relay.retire(self.old.running, held, place=place, deadline=self.deadline, idle=self.idle)


def test_the_next_request_is_answered_by_the_new_server(old: Old, new: standin.Triton) -> None:
    """Over the same connection, which ends with the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", old.port, timeout=5)
    assert ask(connection) == b"old"
    kept = connection.sock
    retiring = Retiring(old, new)
    old.thread.join(5)  # it has closed its end
    assert b"new" in ask(connection)
    retiring.join(5)
    assert retiring.ended
    assert kept is not None
    assert kept.fileno() == -1 or kept.recv(1) == b""
    connection.close()


def test_a_request_in_hand_is_answered_by_the_old_server(old: Old, new: standin.Triton) -> None:
    """Its answer comes whole, and the request after it goes to the new one."""
    old.seconds = 0.3
    connection = http.client.HTTPConnection("127.0.0.1", old.port, timeout=5)
    connection.request("GET", "/v2")
    retiring = Retiring(old, new)
    assert connection.getresponse().read() == b"old"
    assert b"new" in ask(connection)
    retiring.join(5)
    assert retiring.ended
    connection.close()


def test_a_silent_client_is_let_go(old: Old, new: standin.Triton) -> None:
    """An idle connection is closed after its time, and not before."""
    connection = http.client.HTTPConnection("127.0.0.1", old.port, timeout=5)
    ask(connection)
    began = time.monotonic()
    retiring = Retiring(old, new, idle=0.3)
    assert connection.sock is not None
    assert connection.sock.recv(1) == b""
    assert time.monotonic() - began > 0.3
    retiring.join(5)
    assert retiring.ended
    connection.close()


def test_an_old_server_that_keeps_its_connection_is_told(old: Old, new: standin.Triton) -> None:
    """One that does not answer in time has not let go."""
    old.seconds = 0.6
    connection = http.client.HTTPConnection("127.0.0.1", old.port, timeout=5)
    connection.request("GET", "/v2")
    time.sleep(0.05)
    retiring = Retiring(old, new, 0.2)
    retiring.join(5)
    assert retiring.ended is False
    connection.close()


def test_a_request_in_pieces_is_not_cut(old: Old, new: standin.Triton) -> None:
    """While one server or the other reads it, its pieces stay together, however slowly they come."""
    connection = socket.create_connection(("127.0.0.1", old.port))
    connection.settimeout(5)
    connection.sendall(b"GET /v2 HTTP/1.1\r\n\r\n")
    assert connection.recv(1 << 16) == ANSWER
    retiring = Retiring(old, new)
    old.thread.join(5)
    for piece in (b"GET /v", b"2 HTTP/1.1\r\nConn", b"ection: keep-alive\r\n", b"\r\n"):
        connection.sendall(piece)
        time.sleep(0.02)
    assert b"new" in connection.recv(1 << 16)
    retiring.join(5)
    assert retiring.ended
    connection.close()


@pytest.mark.parametrize(
    ("request_", "last"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        (
            b"POST / HTTP/1.1\r\nconnection: Keep-Alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 4\r\nConnection: close\r\n\r\n\r\n\r\n",
        ),
    ],
)
def test_the_last_request_asks_for_the_end(request_: bytes, last: bytes) -> None:
    """Whatever the client said of the connection; the body stays as it is."""
    assert relay._last(request_) == last
