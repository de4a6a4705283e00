"""Requirements files as pip and uv read them: each package in one version, with the digests that its files may have."""

from __future__ import annotations

import re

import msgspec

_PIN = re.compile(
    r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+_-]+)((?: *\\\n +--hash=sha256:[0-9a-f]{64})*)", re.MULTILINE
)
_HASH = re.compile(r"--hash=(\S+)")


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """A package's version. `hashes` are those of all its files, as `sha256:…`: an installer takes no other."""

    version: str
    hashes: tuple[str, ...] = ()


def parse(text: str) -> dict[str, Pin]:
    """The pinned packages of a requirements file, by their names there."""
    return {name: Pin(version=version, hashes=tuple(_HASH.findall(rest))) for name, version, rest in _PIN.findall(text)}


def line(name: str, pin: Pin) -> str:
    """A pin as a line of such a file."""
    return " ".join((f"{name}=={pin.version}", *(f"--hash={each}" for each in pin.hashes))) + "\n"
