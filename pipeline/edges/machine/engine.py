"""A Docker engine, asked over its socket in plain HTTP: no SDK is imported, and no wait is longer than the limit."""

from __future__ import annotations

import http.client
import json
import os
import socket
from typing import Any
from urllib.parse import urlsplit

from pipeline.core import machine

ROOT = "/var/lib/docker"
"""Where an engine keeps images, if it does not say otherwise."""

_SOCKET = "unix:///var/run/docker.sock"
_MOST = 1 << 22
_WORDS = 200


class _Unix(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(limit: float) -> machine.Engine:
    """The engine that DOCKER_HOST names, or the system's, or the user's own. Never raises for an engine's state."""
    given = os.environ.get("DOCKER_HOST") or _usual()
    parts = urlsplit(given)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else given
    if parts.scheme not in {"unix", "tcp", "http"} or os.environ.get("DOCKER_TLS_VERIFY"):
        return machine.Engine(state="remote", address=address)
    try:
        version = _get(given, "/version", limit / 2)
        info = _get(given, "/info", limit / 2)
        return machine.Engine(
            state="running",
            address=address,
            version=str(version["Version"]),
            runtimes=tuple(sorted(info.get("Runtimes") or {})),
            devices=tuple(sorted(str(each.get("ID", "")) for each in info.get("DiscoveredDevices") or ())),
            root=str(info.get("DockerRootDir") or ""),
        )
    except PermissionError:
        return machine.Engine(state="denied", address=address)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError, socket.gaierror):
        return machine.Engine(state="missing", address=address)
    except TimeoutError:
        return machine.Engine(state="hung", address=address)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())[:_WORDS]
        return machine.Engine(state="broken", address=address, words=words)


def _usual() -> str:
    """The system's socket, or that of the user's own (rootless) engine where only this one is there."""
    own = os.path.join(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"), "docker.sock")  # noqa: PTH118
    return f"unix://{own}" if not os.path.exists("/var/run/docker.sock") and os.path.exists(own) else _SOCKET  # noqa: PTH110


def _get(address: str, path: str, timeout: float) -> dict[str, Any]:
    """What the engine answers. Raises OSError, HTTPException or ValueError."""
    parts = urlsplit(address)
    if parts.scheme == "unix":
        connection: http.client.HTTPConnection = _Unix(parts.path, timeout)
    else:
        connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 2375, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": "docker"})
        answer = connection.getresponse()
        text = answer.read(_MOST)
        if answer.status != http.client.OK:
            msg = f"it answers {answer.status} {answer.reason}"
            raise ValueError(msg)
        found = json.loads(text)
        if not isinstance(found, dict):
            msg = "it does not answer as an engine does"
            raise TypeError(msg)
        return found
    finally:
        connection.close()
