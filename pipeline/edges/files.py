"""Single files: read, written and copied so that a reader sees the old bytes or the new ones, never a mixture.

Nothing here follows a symbolic link at a path's end. Whole folders are moved in `folders`, digests are taken in
`digests`; these three are the ground that the other edges stand on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from io import BufferedReader, BufferedWriter
from pathlib import Path

from pipeline.core import errors

_TEMPORARY = re.compile(r"\.pipeline-[0-9a-f]{16}\.tmp")
_CHUNK = 1 << 20
_NOT_HERE = frozenset({errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.ETXTBSY})
_HINTS = {
    errno.ENOSPC: "The disk is full: make room and run the command again.",
    errno.EDQUOT: "Your disk quota is used up: make room and run the command again.",
    errno.EFBIG: "The file is larger than this process may write: raise the limit (ulimit -f) and run again.",
    errno.EROFS: "The file system is read-only: mount it writable, or work in another folder.",
    errno.EACCES: "You may not do that there: look at the owner and the modes of the path and of its folders.",
    errno.EPERM: "You may not do that there: look at the owner and the modes of the path and of its folders.",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n) and run the command again.",
    errno.ENFILE: "Too many files are open on this machine: close some programs and run the command again.",
    errno.EIO: "The disk failed: nothing of this write is trusted. Check the disk, then run the command again.",
    errno.ELOOP: "There is a symbolic link where a real file must be: remove it and run the command again.",
    errno.ENOENT: "It is not there: was it removed meanwhile? Run the command again.",
    errno.ENAMETOOLONG: "Work in a folder with a shorter path.",
}


@contextlib.contextmanager
def guard(act: str, path: Path) -> Iterator[None]:
    """Turns an OSError into a PipelineError with the path, the reason and what to do; `act` is `write`, `read`, …"""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"could not {act} {path}: {reason}"
        hint = _HINTS.get(error.errno or 0, "Mend the cause and run the command again.")
        raise errors.PipelineError(msg, hint=hint) from error


def temporary(folder: Path) -> Path:
    """A fresh name in `folder` for unfinished work. Triton and `git add` of the repository ignore names with a dot."""
    return folder / f".pipeline-{secrets.token_hex(8)}.tmp"


def is_temporary(name: str) -> bool:
    """Whether `name` is one that `temporary` gives: only such things are ever swept."""
    return _TEMPORARY.fullmatch(name) is not None


def sync(path: Path) -> None:
    """Brings a file's bytes, or a folder's names, to the disk. Raises OSError; after one the file must be discarded."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Makes a folder and its missing parents, readable by everyone, for good: each name is on the disk."""
    with guard("make the folder", folder):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
            sync(path.parent)


def write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replaces the file at `path` in one step, and returns when it is on the disk.

    Raises PipelineError; then the old file stands (or the new one, where only the last sync of the folder failed).
    """
    make_folder(path.parent)
    aside = temporary(path.parent)
    with guard("write", path):
        try:
            with open(_create(aside, mode), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(path)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise
        sync(path.parent)


def read(path: Path, limit: int, *, opened: int | None = None) -> bytes | None:
    """The bytes of a regular file, or None where there is none. More than `limit` bytes are refused.

    `opened` is the file's folder, where that is open already.
    """
    with guard("read", path):
        try:
            with open_regular(path if opened is None else path.name, dir_fd=opened) as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            return None
    if len(data) > limit:
        msg = f"{path} is larger than {limit} bytes"
        raise errors.PipelineError(
            msg, hint="It cannot be what the pipeline wrote: move it away and run the command again."
        )
    return data


@contextlib.contextmanager
def open_regular(path: Path | str, *, dir_fd: int | None = None) -> Iterator[BufferedReader]:
    """Opens a regular file to read. A link, folder, fifo or device is refused and never waited for. Raises OSError."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def copy(source: Path, target: Path, *, mode: int = 0o644) -> None:
    """Makes `target`, which must not exist, a fresh real copy that is on the disk: never a link to `source`.

    Blocks are shared where the file system can (reflink). The caller checks the digest of what arrived.
    """
    with guard("copy to", target):
        try:
            with open_regular(source) as taken, open(_create(target, mode), "wb") as given:
                _pour(taken, given)
                given.flush()
                os.fsync(given.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                target.unlink()
            raise


def _create(path: Path, mode: int) -> int:
    """Creates a file of exactly this mode, whatever the umask; one that is there is never opened."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _pour(taken: BufferedReader, given: BufferedWriter) -> None:
    """Copies the rest of one open file into another: inside the kernel where it can, else by hand."""
    try:
        while os.copy_file_range(taken.fileno(), given.fileno(), 1 << 30):
            pass
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
    # copy_file_range gives up early on some file systems, without an error: whatever is left goes through here.
    while chunk := os.read(taken.fileno(), _CHUNK):
        given.write(chunk)
