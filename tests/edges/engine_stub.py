"""A stand-in for a Docker engine on a Unix socket, which answers as it is told, or fails as it is told."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

VERSION = {"ApiVersion": "1.41", "Version": "20.10.24", "Os": "linux", "Arch": "amd64"}
HANG, RESET, NOISE = "hang", "reset", "noise"
Answer = tuple[int, Any] | str


class Stub:
    """What it answers, by `METHOD path` without the API's version: status and JSON, a list of lists for a stream, or a
    fault. A list of answers is given one after the other, the last again and again. `asked` has every request."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers: dict[str, Any] = {"GET /version": (200, VERSION), **answers}
        self.asked: list[str] = []
        self.bodies: dict[str, Any] = {}

    def answer(self, request: str) -> Answer:
        """The next answer to a request."""
        found: Answer | list[Answer] = self.answers.get(request, (404, {"message": f"no such thing: {request}"}))
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    stub: Stub
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        path = self.path.partition("?")[0]
        name = f"{self.command} /{path.split('/', 2)[2] if path.startswith('/v1.') else path.lstrip('/')}"
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.stub.asked.append(name)
        if body.startswith(b"{"):
            self.stub.bodies[name] = json.loads(body)
        found = self.stub.answer(name)
        self.close_connection = True
        if found == HANG:
            time.sleep(2)
        elif found == NOISE:
            self.wfile.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        elif not isinstance(found, str):
            self._write(*found)

    def _write(self, status: int, content: Any) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        if isinstance(content, list) and content and isinstance(content[0], list):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for (event,) in content:
                line = json.dumps(event).encode() + b"\r\n"
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _do  # noqa: N815 - the base's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Nothing."""

    def address_string(self) -> str:
        """A Unix socket's peer has no address."""
        return ""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A thread for each connection."""

    daemon_threads = True
    block_on_close = False


@contextlib.contextmanager
def serving(socket: Path, answers: Mapping[str, Any]) -> Iterator[Stub]:
    """A stub that listens on a socket."""
    stub = Stub(answers)
    server = Server(str(socket), type("Bound", (Handler,), {"stub": stub}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
