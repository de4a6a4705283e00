"""A real HTTP server on the loopback address that speaks as a model hub does, and misbehaves when asked to."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator

COMMIT = "c0ffee" + "0" * 34
LARGE = 1000


class Hub(http.server.ThreadingHTTPServer):
    """Serves `files` as one repository; `requests` has each path asked for, `tokens` each Authorization header."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.trouble: Callable[[http.server.BaseHTTPRequestHandler, bytes], bool] = lambda handler, body: False
        self.listing: Callable[[dict[str, object]], dict[str, object]] = lambda answer: answer
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def about(self) -> dict[str, object]:
        entries = []
        for name, body in self.files.items():
            entry: dict[str, object] = {"rfilename": name, "size": len(body)}
            if len(body) >= LARGE:
                entry["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}
            entries.append(entry)
        return self.listing({"sha": COMMIT, "siblings": entries})


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.server.requests.append(path)
        self.server.tokens.append(self.headers.get("Authorization"))
        if path.startswith("/api/models/"):
            self.answer(json.dumps(self.server.about()).encode())
            return
        body = self.server.files.get(path.partition(f"/resolve/{COMMIT}/")[2])
        if body is None:
            self.send_error(404)
        elif not self.server.trouble(self, body):
            self.answer(body)

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@contextlib.contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Hub]:
    """A running hub, stopped at the end."""
    hub = Hub(files)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        hub.shutdown()
        hub.server_close()
        thread.join()


def start(handler: http.server.BaseHTTPRequestHandler, length: int) -> None:
    """The head of an answer that promises `length` bytes."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()


def drip(handler: http.server.BaseHTTPRequestHandler, body: bytes) -> bool:
    """One byte at a time, for ever slow."""
    start(handler, len(body))
    with contextlib.suppress(OSError):
        for place in range(len(body)):
            handler.wfile.write(body[place : place + 1])
            handler.wfile.flush()
            time.sleep(0.05)
    return True


def endless(handler: http.server.BaseHTTPRequestHandler, body: bytes) -> bool:
    """A body without end and without a length."""
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(body)
        while not handler.server.closing.is_set():  # type: ignore[attr-defined]
            handler.wfile.write(b"x" * 65536)
    return True


def truncated(handler: http.server.BaseHTTPRequestHandler, body: bytes) -> bool:
    """Half of what was promised, then the end."""
    start(handler, len(body))
    handler.wfile.write(body[: len(body) // 2])
    handler.close_connection = True
    return True


def failing(status: int, times: int = 10**9) -> Callable[[http.server.BaseHTTPRequestHandler, bytes], bool]:
    """An error status, for the first `times` requests."""
    left = [times]

    def trouble(handler: http.server.BaseHTTPRequestHandler, body: bytes) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        handler.send_error(status)
        return True

    return trouble


def redirecting(place: str) -> Callable[[http.server.BaseHTTPRequestHandler, bytes], bool]:
    """A redirect to another place."""

    def trouble(handler: http.server.BaseHTTPRequestHandler, body: bytes) -> bool:
        handler.send_response(302)
        handler.send_header("Location", place)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return trouble
