"""A cache over HTTPS in the layout of Bazel's remote cache: GET, HEAD and PUT of `ac/KEY` and `cas/SHA256`.

Bounded in every way: silence, time in all, and no redirect is followed. Plain http is for the loopback address alone.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.core import action, errors

if TYPE_CHECKING:
    from pipeline.edges import caches

_CHUNK = 1 << 20
_SMALL = 1 << 16
_WRITING = 4
"""So many times longer a PUT may take: lines up are slower, and somebody has asked for it."""


class Remote:
    """The cache at an address. `headers` say who we are, and are never shown."""

    def __init__(self, address: str, headers: Mapping[str, str], bounds: caches.Bounds) -> None:
        self.where = address
        self._headers = headers
        self._bounds = bounds

    def stream(self, name: str, size: int) -> Iterator[bytes] | None:
        """The bytes of a name; None where the answer is 404."""
        pieces = self._pieces(name, size)
        with contextlib.suppress(StopIteration):
            return pieces if next(pieces) else None
        return None

    def _pieces(self, name: str, size: int) -> Iterator[bytes]:
        """First a byte that tells that there is something, then what it is."""
        with self._asked("GET", name, size) as answer:
            if answer is None:
                return
            yield b"!"
            promised, got = answer.headers.get("Content-Length", ""), 0
            while piece := answer.read1(_CHUNK):
                got += len(piece)
                yield piece
            if promised.isdigit() and got != int(promised):
                msg = f"it broke off after {got} of {promised} bytes"
                raise action.Fault(msg)

    def size(self, name: str) -> int | None:
        """What HEAD tells of a name: -1 where it does not tell the size."""
        with self._asked("HEAD", name, _SMALL) as answer:
            told = answer.headers.get("Content-Length", "") if answer is not None else ""
            return None if answer is None else int(told) if told.isdigit() else -1

    def put(self, name: str, body: bytes | Path) -> None:
        """PUTs a name: the server publishes it whole, or not at all."""
        if isinstance(body, bytes):
            with self._asked("PUT", name, len(body), body=body, length=len(body)):
                return
        size = body.stat().st_size
        with body.open("rb") as file, self._asked("PUT", name, size, body=file, length=size):
            pass

    @contextlib.contextmanager
    def _asked(
        self, method: str, name: str, size: int, *, body: bytes | IO[bytes] | None = None, length: int | None = None
    ) -> Iterator[Any]:
        """The answer to one request, None for 404. Whatever the server does, it ends within the bounds."""
        sent = {"User-Agent": "triton-pipeline", **self._headers}
        if length is not None:
            sent |= {"Content-Length": str(length), "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{self.where}/{name}", data=body, headers=sent, method=method)  # noqa: S310 - checked
        patience = _WRITING if method == "PUT" else 1
        watch = _Watch(patience * (self._bounds.total + self._bounds.megabyte * size / 1e6))
        try:
            opener = urllib.request.build_opener(_Stay(), *_handlers(watch))
            with opener.open(request, timeout=self._bounds.silence) as answer:
                watch.check()
                yield answer
                watch.check()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != http.HTTPStatus.NOT_FOUND or method == "PUT":
                word = "it redirects elsewhere, which is not followed" if 300 <= error.code < 400 else "it answered"
                msg = f"{word} (HTTP status {error.code})"
                raise action.Fault(msg) from None  # the error has the request with its headers
            yield None
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = str(getattr(error, "reason", None) or error) or type(error).__name__
            raise action.Fault(watch.words if watch.cut else problem) from None
        finally:
            watch.end()


class _Watch:
    """Cuts the connections of one request when its time is over: a server that drips would never be silent."""

    def __init__(self, seconds: float) -> None:
        self.words = f"it took longer than {seconds:.0f} s"
        self.cut = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def add(self, connected: socket.socket) -> None:
        """Another connection of the request."""
        self._sockets.append(connected)

    def check(self) -> None:
        """Raises OSError where the time was over: what was cut off looks like an end."""
        if self.cut:
            raise OSError(self.words)

    def end(self) -> None:
        """The request is over."""
        self._timer.cancel()

    def _cut(self) -> None:
        self.cut = True
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: a cache is where it was said to be."""

    def redirect_request(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - urllib's own
        """None: the redirect becomes an HTTPError."""


def _handlers(watch: _Watch) -> tuple[urllib.request.BaseHandler, ...]:
    """urllib's own, whose connections are watched."""

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            watch.add(self.sock)

    class Secure(http.client.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            watch.add(self.sock)

    class OpenPlain(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Plain, req)

    class OpenSecure(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Secure, req)

    return OpenPlain(), OpenSecure()


def open_cache(address: str, headers: Mapping[str, str], bounds: caches.Bounds) -> Remote:
    """The cache at an address. Raises PipelineError for plain http to another machine."""
    parts = urlsplit(address)
    if parts.scheme == "http" and not _loopback(parts.hostname or ""):
        msg = f"{address} would carry builds and credentials where anyone on the way can change and read them"
        raise errors.PipelineError(msg, hint="Use https; plain http is for the loopback address alone.")
    return Remote(address, headers, bounds)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
