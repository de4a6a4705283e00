"""A cache in a folder, as on a disk that several machines mount: `file:///srv/cache`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pipeline.core import action, errors
from pipeline.edges import files

if TYPE_CHECKING:
    from pipeline.edges import caches

_CHUNK = 1 << 20


class Folder:
    """The cache in a folder. It is made by the first that writes."""

    def __init__(self, root: Path) -> None:
        self.where = f"file://{root}"
        self._root = root

    def stream(self, name: str, size: int) -> Iterator[bytes] | None:  # noqa: ARG002 - the same for all kinds
        """The bytes of a file; None where there is none."""
        return self._pieces(name) if self.size(name) is not None else None

    def _pieces(self, name: str) -> Iterator[bytes]:
        with _told(), files.open_regular(self._root / name) as file:
            while piece := file.read(_CHUNK):
                yield piece

    def size(self, name: str) -> int | None:
        """The size of a file; None where there is none."""
        with _told():
            try:
                return (self._root / name).lstat().st_size
            except FileNotFoundError:
                return None

    def put(self, name: str, body: bytes | Path) -> None:
        """Writes a file aside, and renames it."""
        target = self._root / name
        with _told():
            if isinstance(body, bytes):
                files.write(target, body)
                return
            files.make_folder(target.parent)
            aside = files.temporary(target.parent)
            try:
                files.copy(body, aside)
                aside.replace(target)
                files.sync(target.parent)
            finally:
                aside.unlink(missing_ok=True)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What goes wrong with the folder is a fault of the cache."""
    try:
        yield
    except action.Fault:
        raise
    except errors.PipelineError as error:
        raise action.Fault(error.message) from error
    except OSError as error:
        raise action.Fault(error.strerror or str(error)) from error


def open_cache(address: str, headers: Mapping[str, str], bounds: caches.Bounds) -> Folder:  # noqa: ARG001
    """The cache of an address without a host. Raises PipelineError for another."""
    parts = urlsplit(address)
    path = Path(unquote(parts.path))
    if parts.netloc or not path.is_absolute():
        msg = f"{address} names no folder of this machine"
        raise errors.PipelineError(msg, hint="Write it with three slashes: file:///srv/cache.")
    return Folder(path)
