"""A real package index on the loopback address, with wheels that are made here."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping

MODEL = {"pkg/model/config.json": b'{"architectures": ["BertModel"]}', "pkg/model/model.safetensors": b"weights"}


class Index(http.server.ThreadingHTTPServer):
    """Serves `wheels` by their file names; `yanked` ones are marked so, and `asked` has each path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wheels: dict[str, bytes] = {}
        self.yanked: set[str] = set()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple"

    def put(self, name: str, version: str, files: Mapping[str, bytes] = MODEL) -> str:
        """A wheel of this version; its sha256."""
        made = io.BytesIO()
        about = f"{name.replace('-', '_')}-{version}"
        with zipfile.ZipFile(made, "w") as archive:
            for path, data in files.items():
                archive.writestr(path, data)
            archive.writestr(
                f"{about}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
            archive.writestr(
                f"{about}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{about}.dist-info/RECORD", "")
        self.wheels[f"{about}-py3-none-any.whl"] = made.getvalue()
        return hashlib.sha256(made.getvalue()).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        head, _, last = self.path.rstrip("/").rpartition("/")
        if head == "/wheels":
            self._answer(self.server.wheels.get(last))
            return
        names = [name for name in self.server.wheels if name.startswith(last.replace("-", "_") + "-")]
        links = "".join(self._link(name) for name in names)
        self._answer(f"<!DOCTYPE html><html><body>{links}</body></html>".encode() if names else None)

    def _link(self, name: str) -> str:
        digest = hashlib.sha256(self.server.wheels[name]).hexdigest()
        yanked = ' data-yanked="broken"' if name in self.server.yanked else ""
        return f'<a href="/wheels/{name}#sha256={digest}"{yanked}>{name}</a>'

    def _answer(self, body: bytes | None) -> None:
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@contextlib.contextmanager
def serve() -> Iterator[Index]:
    """A running index, empty, stopped at the end."""
    made = Index()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join()
