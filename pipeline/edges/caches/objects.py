"""A cache in a bucket: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`, through obstore, which is an optional package.

Credentials, region and endpoint are found where each cloud's own tools look for them: the environment, the machine's
identity. An upload is seen by others when it is complete.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import action, errors

if TYPE_CHECKING:
    from pipeline.edges import caches

_CHUNK = 4 << 20


class Bucket:
    """The cache in a bucket."""

    def __init__(self, address: str, bounds: caches.Bounds) -> None:
        self.where = address
        self._bounds = bounds
        self._found: Any = None

    def _store(self) -> Any:  # noqa: ANN401 - obstore is not always there
        if self._found is None:
            from obstore import store  # noqa: PLC0415 - only with such a cache

            wait = dt.timedelta(seconds=self._bounds.silence)
            most = dt.timedelta(seconds=self._bounds.total)
            self._found = store.from_url(
                self.where,
                client_options={"connect_timeout": wait, "read_timeout": wait, "allow_http": True},
                retry_config={"max_retries": 2, "retry_timeout": most},
            )
        return self._found

    def stream(self, name: str, size: int) -> Iterator[bytes] | None:  # noqa: ARG002 - the same for all kinds
        """The bytes of an object; None where there is none."""
        import obstore  # noqa: PLC0415

        with _told():
            try:
                found = obstore.get(self._store(), name)
            except FileNotFoundError:
                return None
        return self._pieces(found)

    def _pieces(self, found: Any) -> Iterator[bytes]:  # noqa: ANN401
        with _told():
            for piece in found.stream(min_chunk_size=_CHUNK):
                yield bytes(piece)

    def size(self, name: str) -> int | None:
        """The size of an object; None where there is none."""
        import obstore  # noqa: PLC0415

        with _told():
            try:
                return int(obstore.head(self._store(), name)["size"])
            except FileNotFoundError:
                return None

    def put(self, name: str, body: bytes | Path) -> None:
        """Uploads an object."""
        import obstore  # noqa: PLC0415

        with _told():
            try:
                obstore.put(self._store(), name, body)
            except FileNotFoundError:
                msg = "there is no such bucket"
                raise action.Fault(msg) from None


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Whatever the cloud's library raises is a fault of the cache, told in its first line."""
    try:
        yield
    except (action.Fault, FileNotFoundError):
        raise
    except Exception as error:  # obstore's errors have no class of their own for all
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise action.Fault(lines[0][:300]) from None


def open_cache(address: str, headers: Mapping[str, str], bounds: caches.Bounds) -> Bucket:  # noqa: ARG001
    """The cache in a bucket. Raises Unfit where obstore is missing."""
    if importlib.util.find_spec("obstore") is None:
        msg = f"a cache at {address.partition(':')[0]}:// needs the package obstore, which is not installed here"
        raise errors.Unfit(msg, hint="Add it with `nox -s environment -- cache`.")
    return Bucket(address, bounds)
