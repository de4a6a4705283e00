"""Bytes over HTTPS, bounded in every way: size, time, attempts, and where a redirect may lead.

Plain http is for the loopback address alone. No credential leaves the host that it was meant for.
"""

from __future__ import annotations

import http.client
import ipaddress
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import IO

import msgspec

from pipeline.core import errors

CHUNK = 1 << 20
RETRIED = (408, 425, 429, 500, 502, 503, 504)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How long to try: attempts, seconds in all, seconds of silence on the line, and the first pause between two."""

    attempts: int = 4
    total_seconds: float = 1800.0
    silence_seconds: float = 20.0
    pause_seconds: float = 0.5


def get(url: str, *, headers: Mapping[str, str], limit: int, bounds: Bounds) -> bytes:
    """The whole body, of at most `limit` bytes. Raises errors.PipelineError."""
    return b"".join(stream(url, headers=headers, limit=limit, bounds=bounds))


def stream(url: str, *, headers: Mapping[str, str], limit: int, bounds: Bounds) -> Iterator[bytes]:
    """The body in pieces; stops with errors.PipelineError at the first byte beyond `limit`.

    A failed attempt goes on where the last one stopped, by a range request; a server that ignores the range is
    read from the start and what is known already is skipped.
    """
    _check_place(url, url)
    deadline = time.monotonic() + bounds.total_seconds
    done = 0
    for attempt in range(bounds.attempts):
        try:
            for piece in _attempt(url, headers, done, deadline, bounds):
                done += len(piece)
                if done > limit:
                    _fail(url, f"it has more than the {limit} bytes that were promised")
                yield piece
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in RETRIED:
                # urllib itself answers a redirect to another kind of address, or too many of them, with this.
                _fail(url, f"HTTP status {error.code}" if error.code >= 400 else "refused a redirect")
            problem = f"HTTP status {error.code}"
        except (OSError, http.client.HTTPException) as error:
            problem = str(getattr(error, "reason", None) or error) or type(error).__name__
        else:
            return
        pause = bounds.pause_seconds * 2**attempt
        if time.monotonic() + pause > deadline or attempt + 1 == bounds.attempts:
            _fail(url, f"{problem}, after {attempt + 1} attempts")
        time.sleep(pause)


def _attempt(url: str, headers: Mapping[str, str], done: int, deadline: float, bounds: Bounds) -> Iterator[bytes]:
    sent = {"User-Agent": "triton-pipeline", **headers, **({"Range": f"bytes={done}-"} if done else {})}
    opener = urllib.request.build_opener(_Redirect())
    left = max(0.01, deadline - time.monotonic())
    with opener.open(urllib.request.Request(url, headers=sent), timeout=min(bounds.silence_seconds, left)) as answer:  # noqa: S310 - checked
        skip = done if answer.status == 200 else 0
        promised = answer.headers.get("Content-Length")
        got = 0
        while piece := answer.read1(CHUNK):
            if time.monotonic() > deadline:
                _fail(url, f"it took longer than {bounds.total_seconds:g} s")
            got += len(piece)
            fresh = piece[skip:]
            skip = max(0, skip - len(piece))
            if fresh:
                yield fresh
        if promised is not None and got < int(promised):
            msg = f"the body ended after {got} of {promised} bytes"
            raise OSError(msg)


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to https, or on the loopback address; leaves credentials behind when the host changes."""

    max_redirections = 5

    def redirect_request(  # noqa: PLR0913, PLR0917 - urllib's own
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _check_place(newurl, req.full_url)
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None and _host(newurl) != _host(req.full_url):
            made.headers.pop("Authorization", None)
        return made


def _host(url: str) -> tuple[str, str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def _check_place(url: str, came_from: str) -> None:
    """Raise unless `url` is https to a public place, or http on the loopback address reached from there."""
    parts = urllib.parse.urlsplit(url)
    local = _loopback(parts.hostname)
    if local and parts.scheme in {"http", "https"} and _loopback(urllib.parse.urlsplit(came_from).hostname):
        return
    try:
        public = ipaddress.ip_address(parts.hostname or "").is_global
    except ValueError:
        public = not local and bool(parts.hostname)
    # An endpoint of the user's own choice may be a private address; a redirect to one may not.
    if parts.scheme == "https" and (public or url == came_from):
        return
    what = f"{parts.scheme}://{parts.hostname or ''}"
    msg = f"refused to go to {what}" if url == came_from else f"refused a redirect from {_shown(came_from)} to {what}"
    raise errors.PipelineError(msg, hint="Only https is followed, and never to an address inside this network.")


def _shown(url: str) -> str:
    """The URL without user, password and query, which may hold secrets."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _fail(url: str, problem: str) -> None:
    msg = f"could not fetch {_shown(url)}: {problem}"
    raise errors.PipelineError(msg, hint="Check the network and the name, then run the command again.")
