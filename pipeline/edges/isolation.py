"""Shuts this process in, for good: no network, nothing written but in a few folders, no rights to undo it.

Namespaces of Linux do it (unshare(2), mount_setattr(2)), for an ordinary user too. Where the kernel or a container
forbids them, what stays open is told. To be called while the process has one thread, and before foreign code runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

NETWORK = "use the network"
FILES = "write outside its folder"

_NEWNS, _NEWIPC, _NEWUSER, _NEWNET = 0x0002_0000, 0x0800_0000, 0x1000_0000, 0x4000_0000
_BIND, _REC, _PRIVATE = 0x1000, 0x4000, 0x4_0000
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000  # the number is the same on every architecture
_RDONLY, _NODEV = 0x1, 0x4
_CAPBSET_DROP, _NO_NEW_PRIVS, _CAPABILITY_VERSION = 24, 38, 0x2008_0522
_KEPT = (1, 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root goes on reading the files of others. Nothing else needs root."""
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_DEVICES = tuple(Path("/dev", name) for name in ("null", "zero", "full", "random", "urandom"))
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the place that shm_open(3) has


class _Attributes(ctypes.Structure):
    """`struct mount_attr` of the kernel."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "namespace")]


def enter(folders: Iterable[Path], memory: Path) -> tuple[str, ...]:
    """Shuts the process in; only below `folders` it can write then, and `memory` is where its shared memory lies.

    Gives what stays open: NETWORK, FILES, both, or nothing. What does not work is tried in a child first: half of it
    would be worse than nothing.
    """
    places = (*folders, memory)
    for left, steps in (((), (_leave, _close_files)), ((FILES,), (_leave,))):
        if _works(lambda steps=steps: _take(steps, places)):  # type: ignore[misc]
            _take(steps, places)
            return left
    return NETWORK, FILES


def _take(steps: Iterable[Callable[[tuple[Path, ...]], None]], places: tuple[Path, ...]) -> None:
    for step in steps:
        step(places)
    _give_up_rights()


def _works(act: Callable[[], None]) -> bool:
    """Whether an act succeeds, tried in a child."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(OSError):
            act()
            code = 0
        os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def _leave(places: tuple[Path, ...]) -> None:  # noqa: ARG001 - one shape for all steps
    """Into namespaces of its own; an ordinary user needs one of users for that, with the ids that they have."""
    user, group = os.geteuid(), os.getegid()
    _call("unshare", _NEWNS | _NEWNET | _NEWIPC | (_NEWUSER if user else 0))
    if user:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:  # a process may talk to itself
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))


def _close_files(places: tuple[Path, ...]) -> None:
    """Makes all that is mounted read-only and without devices, but the places and what every program needs."""
    _call("mount", b"none", b"/", None, _REC | _PRIVATE, None)
    devices = [path for path in _DEVICES if path.exists()]
    own = {path: path for path in (*places, *devices)}
    if _SHARED_MEMORY.is_dir():
        own[_SHARED_MEMORY] = places[-1]
    for target, source in own.items():
        _call("mount", os.fsencode(source), os.fsencode(target), None, _BIND, None)
    _set_mount(Path("/"), _AT_RECURSIVE, add=_RDONLY | _NODEV)
    for target in own:
        _set_mount(target, 0, remove=_NODEV if target in devices else _RDONLY)


def _set_mount(path: Path, flags: int, *, add: int = 0, remove: int = 0) -> None:
    wanted = _Attributes(add, remove, 0, 0)
    _call("syscall", _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), flags, ctypes.byref(wanted), ctypes.sizeof(wanted))


def _give_up_rights() -> None:
    """No capability but the kept ones, where it has them at all, and none that a program could bring."""
    libc = ctypes.CDLL(None)
    for number in range(64):
        if number not in _KEPT and libc.prctl(_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break  # above the last one that the kernel knows
    mask = 0 if os.geteuid() else sum(1 << number for number in _KEPT)
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    _call("capset", header, struct.pack("6I", mask, mask, 0, 0, 0, 0))
    _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)


def _call(name: str, *words: object) -> None:
    """A function of the C library. Raises OSError."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is None:
        raise OSError(errno.ENOSYS, f"no {name} here")
    if function(*words) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
