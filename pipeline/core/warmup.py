"""Warm-up: the samples that a model's config gets for its `warmup`, and the files that hold their data.

Triton makes `batch_size` requests of one row each out of a sample, so one row is enough for every batch. A row of the
goldens has sizes that the spec does not know: they come from the lock, as `rows`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.core import spec

FOLDER = "warmup"
"""Where Triton looks for the data, beside config.pbtxt."""
Rows = Mapping[str, tuple[int, ...]]
"""The shape of each input's row, without the batch axis."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


def version(model: spec.Model) -> int:
    """The version whose goldens are taken: the newest. Its inputs are as good for the others."""
    return max(model.versions)


def file_name(model: spec.Model, name: str) -> str:
    """The file that has an input's row of the goldens: a number keeps names apart that differ in odd letters only."""
    return f"golden-{list(model.inputs).index(name)}-{_UNSAFE.sub('_', name)[:64]}.bin"


def takes_goldens(model: spec.Model) -> bool:
    """Whether the samples are made from goldens, and so need files."""
    return model.warmup is not None and model.warmup.data == "goldens"


def samples(model: spec.Model, rows: Rows) -> list[dict[str, Any]]:
    """The `model_warmup` of a model's config. None where goldens are wanted and `rows` are not known yet."""
    wanted = model.warmup
    if wanted is None or (takes_goldens(model) and rows.keys() != model.inputs.keys()):
        return []
    inputs = {name: _input(model, name, rows) for name in model.inputs}
    repeated = {"count": wanted.count} if wanted.count > 1 else {}
    return [
        {"name": f"{wanted.data}, batch {size}", "batch_size": size, "inputs": inputs, **repeated}
        for size in spec.sizes(model, wanted.batches or model.golden.batches)
    ]


def _input(model: spec.Model, name: str, rows: Rows) -> dict[str, Any]:
    tensor = model.inputs[name]
    kind = {"data_type": f"TYPE_{tensor.dtype}"}
    if takes_goldens(model):
        return {**kind, "dims": list(rows[name]), "input_data_file": file_name(model, name)}
    shape = tensor.shape[1:] if model.max_batch_size else tensor.shape
    dims = [size if isinstance(size, int) else model.axes[size].max for size in shape]
    zeros = model.warmup is not None and model.warmup.data == "zeros"
    return {**kind, "dims": dims, "zero_data" if zeros else "random_data": True}
