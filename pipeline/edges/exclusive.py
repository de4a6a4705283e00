"""One writer: a lock that the kernel holds for this process and frees when it ends, however it ends.

Only flock decides. The text in the lock file tells other runs who holds it, and is never trusted for more.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pipeline import edges
from pipeline.core import errors

_LIMIT = 4096
_WORDS = 500


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who wrote the text in the lock file. `start` is in UTC."""

    pid: int
    host: str
    command: str
    start: str

    def __str__(self) -> str:
        text = f"pid {self.pid} on {self.host}, `{self.command}`, since {self.start}"
        return "".join(letter if letter.isprintable() else "?" for letter in text)


@contextlib.contextmanager
def hold(path: Path, *, command: str, say: edges.Say) -> Iterator[None]:
    """Holds the project for this process. `path` is the lock file; it is made where it is missing and never removed.

    Raises Busy at once where another run holds it, PipelineError where the path is no file of ours.
    """
    descriptor = _acquire(path)
    try:
        previous = _read(descriptor)
        if previous:
            who = _parse(previous) or "unknown"
            say(f"The previous run died ({who}); what it left unfinished is cleaned up.")
        _tell(descriptor, command)
        yield
    finally:
        # Emptied by a run that ends in order: text without a lock is the mark of one that did not.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        # Freed by word, not by close alone: a child that is just being started has the file open for a moment more.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _acquire(path: Path) -> int:
    """An open lock file with the lock on it. One that was removed or replaced meanwhile does not count."""
    for _ in range(10):
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same(descriptor, path):
                return descriptor
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            msg = f"another run holds this project: {holder or 'it has not said who it is'}"
            hint = "Wait until it ends, or stop it; nothing was changed."
            raise errors.Busy(msg, hint=hint) from error
        except OSError as error:
            os.close(descriptor)
            msg = f"could not lock {path}: {error.strerror}"
            hint = "Use a file system that supports flock."
            raise errors.PipelineError(msg, hint=hint) from error
        os.close(descriptor)
    msg = f"could not lock {path}: it was replaced again and again"
    raise errors.PipelineError(msg, hint="Something removes that file: stop it and run the command again.")


def _open(path: Path) -> int:
    """Opens the lock file, and refuses what is not a plain file of this user: writing there could harm something."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        msg = f"could not open the lock file {path}: {error.strerror}"
        hint = "It must be a plain file of yours in a folder that you may write; a link or folder there must go."
        raise errors.PipelineError(msg, hint=hint) from error
    about = os.fstat(descriptor)
    if stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid() and about.st_nlink <= 1:
        return descriptor
    os.close(descriptor)
    msg = f"the lock file {path} is not a plain file of yours"
    raise errors.PipelineError(msg, hint="Look at what it is and who made it, remove it, and run the command again.")


def _same(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the file that is open."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _tell(descriptor: int, command: str) -> None:
    """Writes who holds the lock. It is information only: a full disk is no reason to stop."""
    start = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    holder = Holder(pid=os.getpid(), host=socket.gethostname(), command=command[:_WORDS], start=start)
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(holder), 0)


def _holder(descriptor: int) -> Holder | None:
    """Who holds the lock; a run that has just taken it gets a moment to say so."""
    for _ in range(25):
        holder = _parse(_read(descriptor))
        if holder is not None:
            return holder
        time.sleep(0.01)
    return None


def _read(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, _LIMIT, 0)
    except OSError:
        return b""


def _parse(text: bytes) -> Holder | None:
    try:
        return msgspec.json.decode(text, type=Holder)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
