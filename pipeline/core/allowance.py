"""What a process may use of its machine: how much that is where nobody has said it, and when it was too much.

The numbers are given in; nothing is measured here. A process that was told no limit may take nearly all that there
would be without it: so no honest one is stopped, and the machine goes on.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pipeline.core import container, spec

Kind = Literal["memory", "disk", "processes"]
SHARES: dict[Kind, float] = {"memory": 0.95, "disk": 0.98}
"""How much of what is free it may take, where no limit is set. Of memory it is less: between two looks it may grow."""
FLOOR = 1 << 30
"""Bytes that are never too much: what is free may be little since others use the machine."""
PROCESSES = 2048
"""Processes and threads together: many times what an honest export starts."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of memory and of files, and the number of processes and threads; None for a share of what is free."""

    memory: int | None = None
    disk: int | None = None
    processes: int = PROCESSES


def of(export: spec.Export | None) -> Limits:
    """The limits of an export; of one that is only adopted, None."""
    memory, disk = (export.memory, export.disk) if export else (None, None)
    return Limits(
        memory=container.size(memory) if memory else None,
        disk=container.size(disk) if disk else None,
    )


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes that it has of one thing, of the memory or of a file system, and those that are free beside them; None
    where nobody knows."""

    used: int = 0
    free: int | None = None


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What a process and its children have now; `disks` are the file systems that it writes to."""

    memory: Room = Room()
    disks: tuple[Room, ...] = ()
    processes: int = 0


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that was hit, and how that reads after the process's name."""

    kind: Kind
    words: str


def breach(limits: Limits, use: Use) -> Breach | None:
    """The first limit that is hit; None where all is well."""
    if use.processes > limits.processes:
        return Breach(kind="processes", words=f"hit its limit of {limits.processes} processes and threads")
    return _bytes("memory", limits.memory, (use.memory,)) or _bytes("disk", limits.disk, use.disks)


def _bytes(kind: Kind, limit: int | None, rooms: tuple[Room, ...]) -> Breach | None:
    if limit is not None:
        over = sum(room.used for room in rooms) >= limit
        return Breach(kind=kind, words=f"hit its {kind} limit of {shown(limit)}") if over else None
    for used, free in ((room.used, room.free) for room in rooms):
        if free is not None and used > max(FLOOR, SHARES[kind] * (used + free)):
            return Breach(kind=kind, words=f"took {shown(used)} of {kind}, which left {shown(free)} to all others")
    return None


def shown(number: int) -> str:
    """Bytes as a person reads them."""
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} bytes"
