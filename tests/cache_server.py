"""A real HTTP server on the loopback address with the layout of Bazel's remote cache, and misbehaves when asked."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
from collections.abc import Callable, Iterator

_NAME = re.compile(r"/base/((?:ac|cas)/[0-9a-f]{64})")
Trouble = Callable[[http.server.BaseHTTPRequestHandler, bytes], bool]


class Server(http.server.ThreadingHTTPServer):
    """Serves and takes `blobs` under /base. `asked` has each request, `sent` each Authorization header; `trouble` may
    answer a GET in another way, `refused` is the status of every PUT where it is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.sent: list[str | None] = []
        self.trouble: Trouble = lambda handler, body: False
        self.refused = 0
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/base"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        body = self._body()
        if body is None:
            self.send_error(404)
        elif not self.server.trouble(self, body):
            self._answer(body, body)

    def do_HEAD(self) -> None:
        body = self._body()
        if body is None:
            self.send_error(404)
        else:
            self._answer(body, b"")

    def do_PUT(self) -> None:
        self._body()
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refused:
            self.send_error(self.server.refused)
            return
        self.server.blobs[self._name()] = data
        self._answer(b"", b"")

    def _body(self) -> bytes | None:
        self.server.asked.append(f"{self.command} {self._name()}")
        self.server.sent.append(self.headers.get("Authorization"))
        return self.server.blobs.get(self._name())

    def _name(self) -> str:
        found = _NAME.fullmatch(self.path)
        return found[1] if found else self.path

    def _answer(self, whole: bytes, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """A running cache, empty, stopped at the end."""
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.closing.set()
        made.shutdown()
        made.server_close()
        thread.join()


def stalling(handler: http.server.BaseHTTPRequestHandler, body: bytes) -> bool:
    """Takes the request, and says nothing until the end."""
    handler.server.closing.wait(30)  # type: ignore[attr-defined]
    return True


def other_bytes(handler: http.server.BaseHTTPRequestHandler, body: bytes) -> bool:
    """As many bytes as there should be, of which each is another."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(bytes(each ^ 1 for each in body))
    return True


def slow_head(handler: http.server.BaseHTTPRequestHandler, body: bytes) -> bool:
    """A header that goes on and on, a byte now and then: never silent, never done."""
    closing: threading.Event = handler.server.closing  # type: ignore[attr-defined]
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    with contextlib.suppress(OSError):
        while not closing.wait(0.05):
            handler.wfile.write(b"x")
            handler.wfile.flush()
    handler.close_connection = True
    return True
