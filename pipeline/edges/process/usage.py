"""What a child and its children have of this machine, and what is free beside them. Linux tells; elsewhere nobody does.

Memory is what nobody else has: pages of its own, shared memory that it has mapped, and what of it was swapped out. The
kernel counts it quickly but once for each process that shares it, as after a fork, or exactly and slowly.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from pipeline.core import allowance

SECONDS = 0.2
DISK_SECONDS = 1.0
PAUSE = 20
"""So many times longer than a look is the time until the next one."""
_QUICK = ("status", ("RssAnon", "RssShmem", "VmSwap"))
_EXACT = ("smaps_rollup", ("Pss_Anon", "Pss_Shmem", "SwapPss"))
_CGROUPS = {
    "": ("/sys/fs/cgroup", "memory.max", "memory.current"),
    "memory": ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
}
"""Where the second version of control groups, and the controller `memory` of the first, keep their numbers."""


class Watch:
    """Looks now and then at what the session of a child has; `folders` are where it writes."""

    def __init__(self, session: int, limits: allowance.Limits | None, folders: Sequence[Path]) -> None:
        self._session, self._limits, self._folders = session, limits, folders
        self._due = self._disk_due = time.monotonic()
        self._disks: tuple[allowance.Room, ...] = ()

    def breach(self) -> allowance.Breach | None:
        """The limit that is hit; None where all is well, and where it is not yet time to look again."""
        now = time.monotonic()
        if self._limits is None or now < self._due:
            return None
        if now >= self._disk_due:
            self._disks = disks(self._folders)
            self._disk_due = _next(now, DISK_SECONDS)
        pids = tuple(members(self._session))
        use = allowance.Use(memory=_memory(pids, _QUICK), disks=self._disks, processes=_threads(pids))
        found = allowance.breach(self._limits, use)
        if found is not None and found.kind == "memory":
            use = msgspec.structs.replace(use, memory=_memory(pids, _EXACT, _QUICK))
            found = allowance.breach(self._limits, use)
        self._due = _next(now, SECONDS)
        return found

    def full(self) -> allowance.Breach | None:
        """The limit of disk, looked at once more, if that is reached."""
        if self._limits is None or self._limits.disk is None:
            return None
        return allowance.breach(self._limits, allowance.Use(disks=disks(self._folders)))


def _next(began: float, least: float) -> float:
    """When to look again: measuring must not cost what it measures."""
    now = time.monotonic()
    return now + max(least, PAUSE * (now - began))


def members(session: int) -> Iterator[int]:
    """The processes of a session."""
    with contextlib.suppress(OSError), os.scandir("/proc") as found:
        for pid in [int(entry.name) for entry in found if entry.name.isdecimal()]:
            with contextlib.suppress(OSError):
                if os.getsid(pid) == session:
                    yield pid


def _memory(pids: Iterable[int], *ways: tuple[str, tuple[str, ...]]) -> allowance.Room:
    """The memory of processes, by the first of the ways that the kernel allows: a file, and its rows that count."""
    used = 0
    for pid in pids:
        for name, rows in ways:
            with contextlib.suppress(OSError):
                facts = _facts(Path(f"/proc/{pid}/{name}"))
                used += sum(facts.get(row, 0) for row in rows) << 10
                break
    return allowance.Room(used=used, free=free_memory())


def _threads(pids: Iterable[int]) -> int:
    count = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            count += _facts(Path(f"/proc/{pid}/status")).get("Threads", 1)
    return count


def _facts(path: Path) -> dict[str, int]:
    """The lines `Name: NUMBER` of a file of the kernel; those with kB are in KiB."""
    rows = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    words = {name: value.split() for name, _, value in rows}
    return {name: int(value[0]) for name, value in words.items() if value and value[0].isdecimal()}


def free_memory() -> int | None:
    """The bytes of memory and swap that are free for more: on the machine, and within the control group."""
    try:
        facts = _facts(Path("/proc/meminfo"))
    except OSError:
        return None
    if "MemAvailable" not in facts:
        return None
    return min((facts["MemAvailable"] + facts.get("SwapFree", 0)) << 10, *_group_memory())


def _group_memory() -> Iterator[int]:
    """What is left of the memory of each group that this process is in, where it has a limit; the cache of its files
    can be given back, as on the machine."""
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, name = line.split(":", 2)
        top, limit, usage = _CGROUPS.get(controllers, ("", "", ""))
        inside = Path(name.lstrip("/"))
        for group in (inside, *inside.parents) if top else ():
            with contextlib.suppress(OSError, ValueError):  # `max` is no limit; the uppermost group has none
                most = int(Path(top, group, limit).read_text(encoding="ascii"))
                cache = _counts(Path(top, group, "memory.stat")).get("inactive_file", 0)
                yield max(0, most - int(Path(top, group, usage).read_text(encoding="ascii")) + cache)


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    return []


def _counts(path: Path) -> dict[str, int]:
    """The lines `name NUMBER` of a file of the kernel."""
    words = path.read_text(encoding="ascii").split()
    return {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}


def disks(folders: Iterable[Path]) -> tuple[allowance.Room, ...]:
    """What the files in folders take of each file system that they lie on, and what is free there."""
    used: dict[int, int] = {}
    free: dict[int, int] = {}
    for folder in folders:
        with contextlib.suppress(OSError):
            disk, room = folder.stat().st_dev, os.statvfs(folder)
            used[disk] = used.get(disk, 0) + written(folder)
            free[disk] = room.f_bavail * room.f_frsize
    return tuple(allowance.Room(used=number, free=free[disk]) for disk, number in used.items() if disk in free)


def written(folder: Path) -> int:
    """The bytes that a folder's files take on the disk; what vanishes meanwhile takes none."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_blocks * 512  # noqa: PTH118
    return total
