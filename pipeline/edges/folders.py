"""Whole folders: made aside, published by one rename, exchanged, removed.

Paths are the caller's: nothing here knows what a folder means.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.core import errors
from pipeline.edges import files

_AT_FDCWD = -100
_COARSE = 2_000_000_000  # nanoseconds: the coarsest clock of a file system that is in use (FAT)
_EXCHANGE = 2
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def stage(parent: Path) -> Iterator[Path]:
    """An empty folder for unfinished work, in `parent` and so on its file system; gone at the end, unless renamed."""
    files.make_folder(parent)
    aside = files.temporary(parent)
    with files.guard("make the folder", aside):
        aside.mkdir()
        aside.chmod(0o755)
    try:
        yield aside
    finally:
        # What cannot be removed now is swept by the next run; the error that led here matters more.
        with contextlib.suppress(errors.PipelineError):
            remove(aside)


def sync(folder: Path) -> None:
    """Brings a whole tree to the disk: every file, then every folder. Raises PipelineError."""
    with files.guard("write", folder):
        for path, _, names in os.walk(folder, topdown=False, onerror=_raise):
            for name in names:
                files.sync(Path(path, name))
            files.sync(Path(path))


def publish(aside: Path, target: Path) -> None:
    """Renames a finished, synced folder to a name that is free, and returns when the name is on the disk."""
    with files.guard("publish", target):
        aside.rename(target)
        files.sync(target.parent)
        if aside.parent != target.parent:
            files.sync(aside.parent)


def exchange(aside: Path, target: Path) -> None:
    """Swaps two folders of one parent without a gap (renameat2); where the file system cannot, by three renames."""
    with files.guard("replace", target):
        if not _renameat2(aside, target):
            third = files.temporary(target.parent)
            target.rename(third)
            aside.rename(target)
            third.rename(aside)
        files.sync(target.parent)


def remove(path: Path) -> None:
    """Removes a file or a whole tree, read-only folders too; links are removed, never followed. Absent is fine."""
    with files.guard("remove", path):
        try:
            if not stat.S_ISDIR(path.lstat().st_mode):
                path.unlink()
                return
        except FileNotFoundError:
            return
        _open_up(path)
        shutil.rmtree(path)


def sweep(folder: Path) -> tuple[str, ...]:
    """Removes what runs that were killed left unfinished in `folder`, and returns the names.

    Only for the holder of the writer lock: a name of this kind may be in work in another run.
    """
    with files.guard("read", folder):
        try:
            names = sorted(path.name for path in folder.iterdir() if files.is_temporary(path.name))
        except FileNotFoundError:
            return ()
    for name in names:
        remove(folder / name)
    return tuple(names)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[int | None]:
    """A folder held open: whatever is put in its place meanwhile is not mistaken for it. None where no folder is."""
    with contextlib.ExitStack() as ends:
        with files.guard("read", folder):
            try:
                there = os.open(folder, _FOLDER)
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                    raise
                there = None
        if there is not None:
            ends.callback(os.close, there)
        yield there


def names(there: int) -> list[str]:
    """The names in an open folder, in no order. Raises OSError."""
    return os.listdir(there)


def stats(there: int) -> Iterator[os.stat_result]:
    """What `stat` says of an open folder and of everything in it; links are told and never followed. Raises OSError."""
    yield os.fstat(there)
    for name in names(there):
        about = os.stat(name, dir_fd=there, follow_symlinks=False)
        if not stat.S_ISDIR(about.st_mode):
            yield about
            continue
        inner = os.open(name, _FOLDER, dir_fd=there)
        try:
            yield from stats(inner)
        finally:
            os.close(inner)


def _open_up(path: Path | str, *, dir_fd: int | None = None) -> None:
    """Makes every folder of a tree writable for its owner, since only then its names can be removed.

    A folder that nobody may read can be opened as a place only, and its mode be set by that; no link is followed.
    """
    place = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        Path(f"/proc/self/fd/{place}").chmod(0o700)
        there = os.open(".", _FOLDER, dir_fd=place)
    finally:
        os.close(place)
    try:
        for name in names(there):
            if stat.S_ISDIR(os.stat(name, dir_fd=there, follow_symlinks=False).st_mode):
                _open_up(name, dir_fd=there)
    finally:
        os.close(there)


def _renameat2(first: Path, second: Path) -> bool:
    """Exchanges two names atomically (Linux 3.15, glibc 2.28); False where kernel or file system cannot."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
        return False
    raise OSError(code, os.strerror(code), str(second))


def _raise(error: OSError) -> None:
    raise error


def newest(there: int | None, target: Path) -> int:
    """The latest time in an open tree, in nanoseconds, as Triton looks for it; 0 where there is none.

    It may be tomorrow's: a clock was set back since, or somebody has written it.
    """
    if there is None:
        return 0
    with files.guard("read", target):
        return max(max(about.st_mtime_ns, about.st_ctime_ns) for about in stats(there))


def stamp(target: Path, *, after: int) -> None:
    """Sets the times of what lies in a folder to now, or later than `after` where that is not past.

    What lies further inside keeps its times, so its digests stay known.
    """
    now = time.time_ns()
    at = now if now > after else after + _COARSE
    with opened(target) as there, files.guard("write", target):
        for name in names(there) if there is not None else ():
            os.utime(name, ns=(at, at), dir_fd=there, follow_symlinks=False)
