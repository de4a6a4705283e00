"""The catalog of ModelConfig's fields: what each means, and the first release that has it, as far as that is known.

The protobuf says which fields there are; its descriptors have no words, and no history. A field or a value of an enum
is named by its path, as `ModelWarmup.count` or `DataType.TYPE_BF16`. Which spec uses what is `rules` business.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import msgspec

from pipeline.core import errors, matrix

_COLUMNS = ["field", "first", "source", "description"]
_RESTORE = "Install the pipeline anew, or restore pipeline/data/model_config_fields.csv from git."


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One field. `first` is the first release that has it (`24.11`); empty where it is older than all that were looked
    at. `source` says where that is known from."""

    first: str
    source: str
    description: str


Catalog = Mapping[str, Entry]


def parse(text: str) -> Catalog:
    """The catalog by path. Raises PipelineError where it is not the table that was shipped."""
    reader = csv.reader(io.StringIO(text), strict=True)
    found: dict[str, Entry] = {}
    try:
        rows = list(reader)
    except csv.Error as error:
        msg = f"the catalog of ModelConfig's fields is damaged: {error}"
        raise errors.PipelineError(msg, hint=_RESTORE) from error
    if not rows or rows[0] != _COLUMNS:
        msg = "the catalog of ModelConfig's fields has other columns than this version reads"
        raise errors.PipelineError(msg, hint=_RESTORE)
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(_COLUMNS) or row[0] in found or (row[1] and not matrix.numbers(row[1])):
            msg = f"the catalog of ModelConfig's fields is damaged in line {line}"
            raise errors.PipelineError(msg, hint=_RESTORE)
        found[row[0]] = Entry(first=row[1], source=row[2], description=row[3])
    return found


def newer(known: Catalog, path: str, release: str) -> Entry | None:
    """The entry of a field that came after `release`; None where the release has it, or nobody knows."""
    entry = known.get(path)
    has = matrix.numbers(release)
    return entry if entry is not None and entry.first and has and has < matrix.numbers(entry.first) else None
