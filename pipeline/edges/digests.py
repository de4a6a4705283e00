"""Digests of files and trees, with a record that spares reading what did not change.

A file is known again by size, mtime, ctime, inode and device. Nothing here decides what a digest should be.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from pathlib import Path

import msgspec

from pipeline.core import errors
from pipeline.edges import files

_LIMIT = 64 << 20
_KEPT = 50_000
_SECOND = 1_000_000_000
_TICK = 20_000_000  # Linux stamps files with the time of its last tick, 10 ms ago at most
_COARSE = 2 * _SECOND  # the coarsest clock of a file system that is in use (FAT)

Known = dict[str, str]
"""What a file's stat says of it, to its sha256."""


class Digests:
    """Takes sha256 digests, and remembers them in the file `record`. One run, one thread."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._known = _load(record)
        self._used: Known = {}
        self._fresh = False

    def of(self, path: Path | str, *, dir_fd: int | None = None) -> str:
        """The sha256 of a regular file. Raises OSError, also for a link, a folder, a fifo or a device."""
        return self._of(path, dir_fd, os.stat(path, dir_fd=dir_fd, follow_symlinks=False))

    def _of(self, path: Path | str, dir_fd: int | None, about: os.stat_result) -> str:
        name = _name(about)
        known = self._known.get(name)
        if known is None or not stat.S_ISREG(about.st_mode):
            return self._take(path, dir_fd)
        self._used[name] = known
        return known

    def tree(self, folder: Path, *, opened: int | None = None, public: bool = False) -> dict[str, str]:
        """Everything in a folder, which may be `opened` already: relative paths to sha256 digests, sorted.

        What is no plain file is named and never opened: `link`, `hardlink` (a file with a second name, which can
        change from elsewhere), `folder` (an empty one), `special`. In a `public` tree, as another user reads it, what
        not everyone may read is `unreadable`. Raises PipelineError.
        """
        found: dict[str, str] = {}
        with files.guard("read", folder):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(folder if opened is None else ".", flags, dir_fd=opened)
            try:
                if public and _is_closed(os.fstat(descriptor)):
                    found["."] = "unreadable"
                self._walk(descriptor, "", found, public)
            finally:
                os.close(descriptor)
        return dict(sorted(found.items()))

    def check(self, path: Path, expected: str) -> None:
        """Raises Unverified where the file's bytes are not the expected ones."""
        with files.guard("read", path):
            got = self.of(path)
        if got != expected:
            msg = f"{path} has the sha256 {got}, expected {expected}"
            raise errors.Unverified(msg, hint="Its bytes were changed: remove it and run the command again.")

    def save(self) -> None:
        """Keeps the record for the next run. It only spares time: a disk that takes no more is no error."""
        if not self._fresh:
            return
        merged = {**{name: value for name, value in self._known.items() if name not in self._used}, **self._used}
        kept = dict(list(merged.items())[-_KEPT:])
        body = msgspec.json.encode(kept)
        try:
            files.write(self._record, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        except errors.PipelineError:
            return
        self._fresh = False

    def _walk(self, descriptor: int, prefix: str, found: dict[str, str], public: bool) -> None:  # noqa: FBT001
        """Adds what is under an open folder. Each step goes from the open folder by name, so that a folder swapped
        for a link on the way is refused and never followed."""
        names = os.listdir(descriptor)
        if not names and prefix:
            found[prefix.rstrip("/")] = "folder"
        for name in names:
            about = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if public and _is_closed(about):
                found[prefix + name] = "unreadable"
            elif stat.S_ISDIR(about.st_mode):
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                inner = os.open(name, flags, dir_fd=descriptor)
                try:
                    self._walk(inner, f"{prefix}{name}/", found, public)
                finally:
                    os.close(inner)
            else:
                found[prefix + name] = _kind(about) or self._of(name, descriptor, about)

    def _take(self, path: Path | str, dir_fd: int | None) -> str:
        """Reads the file. The record gets it only if nobody can have changed it within the stamp that it bears now."""
        with files.open_regular(path, dir_fd=dir_fd) as file:
            before = os.fstat(file.fileno())
            settled = _settled(before)
            taken = hashlib.file_digest(file, "sha256").hexdigest()
            unchanged = _name(os.fstat(file.fileno())) == _name(before)
        if settled and unchanged:
            self._known[_name(before)] = self._used[_name(before)] = taken
            self._fresh = True
        return taken


def take(path: Path) -> str:
    """The sha256 of a regular file, read now and not remembered. Raises OSError."""
    with files.open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(about: os.stat_result) -> str:
    return f"{about.st_dev}:{about.st_ino}:{about.st_size}:{about.st_mtime_ns}:{about.st_ctime_ns}"


def _kind(about: os.stat_result) -> str | None:
    """What a thing is that is no plain file; None for one that is."""
    match stat.S_IFMT(about.st_mode):
        case stat.S_IFREG:
            return None if about.st_nlink == 1 else "hardlink"
        case stat.S_IFLNK:
            return "link"
        case _:
            return "special"


def _is_closed(about: os.stat_result) -> bool:
    """Whether a folder or a file is not readable for everyone."""
    needed = {stat.S_IFDIR: 0o555, stat.S_IFREG: 0o444}.get(stat.S_IFMT(about.st_mode), 0)
    return about.st_mode & needed != needed


def _settled(about: os.stat_result) -> bool:
    """Whether a later change must give the file another stamp (git calls what must not be trusted racy).

    A file written within the last tick is waited for: 20 ms at most. A stamp from the future is never trusted.
    """
    newest = max(about.st_mtime_ns, about.st_ctime_ns)
    needed = _TICK if about.st_ctime_ns % _SECOND else _COARSE
    age = time.time_ns() - newest
    if 0 <= age < needed == _TICK:
        time.sleep((needed - age) / _SECOND)
        age = time.time_ns() - newest
    return age >= needed


def _load(record: Path) -> Known:
    """The record of earlier runs; a torn, foreign or missing one is an empty one."""
    try:
        with files.open_regular(record) as file:
            about = os.fstat(file.fileno())
            data = file.read(_LIMIT) if about.st_uid in {0, os.geteuid()} else b""
    except OSError as error:
        if error.errno in {
            errno.ENOENT,
            errno.ENOTDIR,
            errno.ELOOP,
            errno.EINVAL,
            errno.EACCES,
            errno.EISDIR,
            errno.ENXIO,
        }:
            return {}
        with files.guard("read", record):
            raise
    checksum, _, body = data.partition(b"\n")
    if checksum != hashlib.sha256(body).hexdigest().encode():
        return {}
    try:
        return msgspec.json.decode(body, type=Known)
    except msgspec.DecodeError:
        return {}
