"""The release matrix: what is known of NVIDIA's Triton images, a row a release. An empty cell is unknown, never fine.

The rows hold for the plain `-py3` images; other variants stand on older bases. What the facts mean for a machine or an
artifact is `compat`'s and `formats`' business.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping

import msgspec

from pipeline.core import errors

_COLUMNS = (
    "tag",
    "triton_version",
    "cuda",
    "driver_min",
    "driver_compat_branches",
    "min_compute_capability",
    "ubuntu",
    "python",
    "pytorch",
    "onnxruntime",
    "tensorrt",
    "openvino",
    "tensorflow_backend",
    "torch_aoti",
    "source",
)
_TAG = re.compile(r"[0-9]{2}\.(?:0[1-9]|1[0-2])")
_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_PARTS = re.compile(r" \| |; ")
_WEAK = ("CONTRADICTED", "INDIRECT")
_ALSO = {"python_backend": "python"}
_GROUPS = {
    "triton_version": ("triton",),
    "cuda": ("cuda",),
    "driver_min": ("driver_min", "driver"),
    "driver_compat_branches": ("driver",),
    "min_compute_capability": ("cc",),
    "ubuntu": ("ubuntu", "triton"),
    "python": ("python",),
    "pytorch": ("pytorch",),
    "onnxruntime": ("ort",),
    "tensorrt": ("tensorrt",),
    "openvino": ("openvino",),
    "tensorflow_backend": ("tf",),
    "torch_aoti": ("aoti",),
}
"""What the sources call the columns."""

Numbers = tuple[int, ...]
"""A version as numbers, such as (12, 2, 1): compared from the left."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One release of the image. Every text is as NVIDIA writes it; None where nothing was found.

    `driver_compat_branches` are driver branches with the lowest version in each (`535.86+`), for which the image
    brings its own newer CUDA libraries. `probed` names the cells that the image itself has told, and `backends` are
    the backends that it has been seen to have; None where nobody has looked.
    """

    tag: str
    triton_version: str | None = None
    cuda: str | None = None
    driver_min: str | None = None
    driver_compat_branches: tuple[str, ...] = ()
    min_compute_capability: str | None = None
    ubuntu: str | None = None
    python: str | None = None
    pytorch: str | None = None
    onnxruntime: str | None = None
    tensorrt: str | None = None
    openvino: str | None = None
    tensorflow_backend: str | None = None
    torch_aoti: str | None = None
    source: str = ""
    probed: frozenset[str] = frozenset()
    backends: tuple[str, ...] | None = None


def parse(text: str) -> tuple[Row, ...]:
    """The rows of the table, oldest release first. Raises PipelineError where it is not the table that was shipped."""
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            msg = "the release matrix has other columns than this version reads"
            raise errors.PipelineError(msg, hint=_RESTORE)
        rows = tuple(sorted((_row(cells, reader.line_num) for cells in reader), key=lambda row: numbers(row.tag)))
    except csv.Error as error:
        msg = f"the release matrix is damaged: {error}"
        raise errors.PipelineError(msg, hint=_RESTORE) from error
    if len({row.tag for row in rows}) < len(rows):
        msg = "the release matrix has a release twice"
        raise errors.PipelineError(msg, hint=_RESTORE)
    return rows


_RESTORE = "Install the pipeline anew, or restore pipeline/data/triton_releases.csv from git."


def _row(cells: Mapping[str | None, str | None], line: int) -> Row:
    if None in cells or None in cells.values() or not _TAG.fullmatch(cells["tag"] or ""):
        msg = f"the release matrix is damaged in line {line}"
        raise errors.PipelineError(msg, hint=_RESTORE)
    known = {name: cell for name in _COLUMNS if (cell := (cells[name] or "").strip())}
    branches = tuple(known.pop("driver_compat_branches", "").split(";"))
    return Row(**known, driver_compat_branches=tuple(filter(None, branches)))  # type: ignore[arg-type]


def find(rows: Iterable[Row], tag: str) -> Row | None:
    """The row of a release (`23.08`), if there is one."""
    return next((row for row in rows if row.tag == tag), None)


def probed(row: Row, facts: Mapping[str, str]) -> Row:
    """The row with what the image itself has told of its columns, which beats the table. Raises KeyError for others."""
    names = {*_GROUPS} - {"driver_compat_branches"}
    if unknown := {*facts} - names:
        raise KeyError(min(unknown))
    return msgspec.structs.replace(row, **facts, probed=row.probed | {*facts})


def numbers(text: str | None) -> Numbers:
    """The numbers that a version begins with: `2.13.0a0+81` is (2, 13, 0). Empty where it begins with none."""
    found = _NUMBERS.match(text or "")
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def source(row: Row, column: str) -> str:
    """Where a cell comes from, as the table says it; empty where it is empty, or the table does not say."""
    if column in row.probed:
        return "the image itself"
    for name in _GROUPS[column] if getattr(row, column) else ():
        for part in row.source.split(" | "):
            head, colon, rest = part.partition(": ")
            if colon and name in _names(head):
                return f"{rest.strip()}{' (not confirmed by a second source)' if weak(row, column) else ''}"
    return ""


def weak(row: Row, column: str) -> bool:
    """Whether a cell is known at second hand only, or another source says otherwise."""
    wanted = {*_GROUPS[column], column}
    parts = [part for part in _PARTS.split(row.source) if any(mark in part for mark in _WEAK)]
    return column not in row.probed and any(wanted & _names(part) for part in parts)


def _names(part: str) -> set[str]:
    """What a source is about: the names at its beginning, as `cuda/driver/cc: ...` or `ort CONTRADICTED: ...`."""
    words = part.strip().replace(":", " ").split()
    return {_ALSO.get(name, name) for name in words[0].split("/")} if words else set()
