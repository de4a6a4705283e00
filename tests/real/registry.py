"""An image registry on the loopback address that serves one tiny image, and fails as it is told."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """Serves the image `tiny:1`. `broken` blob requests are cut off in the middle, `wrong` ones have another byte."""

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture
        self.port = 0
        self.broken = 0
        self.wrong = False
        self.asked: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.manifest = b""
        self.publish()

    @property
    def reference(self) -> str:
        """The image by its tag."""
        return f"127.0.0.1:{self.port}/tiny:1"

    @property
    def digest(self) -> str:
        """What the tag names now."""
        return _digest(self.manifest)

    def publish(self) -> None:
        """Another image under the same tag."""
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as archive:
            content = os.urandom(1 << 18)
            entry = tarfile.TarInfo("content")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        layer = gzip.compress(plain.getvalue(), mtime=0)
        rootfs = {"type": "layers", "diff_ids": [_digest(plain.getvalue())]}
        made: dict[str, Any] = {"architecture": self.architecture, "os": "linux", "config": {}, "rootfs": rootfs}
        config = json.dumps(made).encode()
        self.blobs |= {_digest(each): each for each in (layer, config)}
        kinds = "application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"
        parts = [
            {"mediaType": kind, "size": len(each), "digest": _digest(each)}
            for kind, each in zip(kinds, (config, layer), strict=True)
        ]
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": parts[0], "layers": [parts[1]]}
        self.manifest = json.dumps(manifest).encode()
        self.blobs[self.digest] = self.manifest


class Handler(BaseHTTPRequestHandler):
    """The few requests of a pull (the distribution API, version 2)."""

    registry: Registry
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        self.registry.asked.append(self.path)
        kind, name = self.path.split("/")[-2:]
        content = self.registry.manifest if name == "1" else self.registry.blobs.get(name)
        if self.path == "/v2/":
            self._send(200, b"{}", "application/json")
        elif content is None:
            error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            self._send(404, json.dumps(error).encode(), "application/json")
        else:
            self._send(200, content, _MANIFEST if kind == "manifests" else "application/octet-stream")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Content-Digest", _digest(content))
        self.end_headers()
        if self.command == "HEAD":
            return
        large = len(content) > 1 << 16
        if large and self.registry.wrong:
            content = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
        if large and self.registry.broken:
            self.registry.broken -= 1
            content, self.close_connection = content[: len(content) // 2], True
        self.wfile.write(content)

    do_GET = do_HEAD = _do  # noqa: N815 - the base's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Nothing."""


@contextlib.contextmanager
def serving(architecture: str) -> Iterator[Registry]:
    """A registry that listens, with an image for this architecture."""
    registry = Registry(architecture)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"registry": registry}))
    registry.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
