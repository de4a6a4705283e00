"""Single rows of a golden file, as the bytes that Triton takes for a warm-up: neither numpy nor safetensors is needed.

safetensors keeps a tensor row by row, little-endian, without gaps: as Triton wants it. Texts it wants each behind its
length, and goldens fill them up behind that.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec

from pipeline.core import errors
from pipeline.edges import files

_HEADER = 8
_LENGTH = 4
_LIMIT = 64 << 20
_HINT = "Remove that store entry, and run `export` again."


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """An input's row: its bytes, and its shape without the batch axis."""

    data: bytes
    shape: tuple[int, ...]


def read(path: Path, inputs: tuple[str, ...], *, batched: bool = True) -> dict[str, Row]:
    """The first row of each input of the smallest golden batch; the whole tensor where nothing is `batched`.

    Raises PipelineError for a file that is no golden, or lacks one of the inputs.
    """
    found: dict[str, Row] = {}
    with files.guard("read", path), files.open_regular(path) as file:
        size = int.from_bytes(file.read(_HEADER), "little")
        try:
            header: dict[str, Any] = json.loads(file.read(min(size, _LIMIT)))
            batch = min(int(name.partition("/")[0]) for name in header if "/input/" in name)
            strings = json.loads(header.get("__metadata__", {}).get("pipeline", "{}")).get("strings", ())
            for name in inputs:
                about = header[f"{batch}/input/{name}"]
                start, end = about["data_offsets"]
                shape = tuple(about["shape"])
                row = shape[1:] if batched else shape
                file.seek(_HEADER + size + start)
                length = (end - start) * math.prod(row) // max(math.prod(shape), 1)
                data = file.read(length)
                if f"{batch}/input/{name}" in strings:
                    data, row = _texts(data, row[-1]), row[:-1]
                found[name] = Row(data=data, shape=row)
        except (ValueError, KeyError, TypeError) as error:
            msg = f"{path} has no golden row: {error!r}"
            raise errors.PipelineError(msg, hint=_HINT) from error
    return found


def _texts(data: bytes, width: int) -> bytes:
    """Texts without what fills them up."""
    parts = (data[start : start + width] for start in range(0, len(data), width))
    return b"".join(part[: _LENGTH + int.from_bytes(part[:_LENGTH], "little")] for part in parts)
