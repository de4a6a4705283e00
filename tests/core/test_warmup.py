"""Warm-ups in a config: what samples it gets, and that they are none before their goldens are known."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipeline.core import config, fields, parse, spec, warmup

GOOD = Path(__file__).parents[1] / "specs/good/adopted.yaml"
MODELS = parse.parse_spec(GOOD.read_bytes(), file=GOOD.name).models


def changed(model: spec.Model, **changes: object) -> spec.Model:
    """The model with other values."""
    return msgspec.structs.replace(model, **changes)


def test_goldens() -> None:
    """A sample for each golden batch, all with the one row, whose shape the lock knows, out of one file."""
    model = MODELS["warm"]
    data = config.model_config(model, digest=None, rows={"input_ids": (7,)})["model_warmup"]
    row = {"data_type": "TYPE_INT32", "dims": [7], "input_data_file": "golden-0-input_ids.bin"}
    assert data == [
        {"name": f"goldens, batch {size}", "batch_size": size, "inputs": {"input_ids": row}} for size in (1, 2, 8)
    ]


def test_goldens_that_are_not_known_yet() -> None:
    """Before an export there is no sample, since nobody knows how long its rows will be."""
    assert config.model_config(MODELS["warm"], digest=None)["model_warmup"] == []


@pytest.mark.parametrize(("data", "key"), [("zeros", "zero_data"), ("random", "random_data")])
def test_made_up_data(data: str, key: str) -> None:
    """Zeros and random bytes are as large as the axes may be, in the batches and as often as asked for."""
    model = changed(MODELS["zeros"], warmup=spec.Warmup(data=data, batches=(1, "max"), count=3))  # type: ignore[arg-type]
    given = {"input_ids": {"data_type": "TYPE_INT32", "dims": [32], key: True}}
    assert warmup.samples(model, {}) == [
        {"name": f"{data}, batch {size}", "batch_size": size, "inputs": given, "count": 3} for size in (1, 8)
    ]


def test_without_batching() -> None:
    """Where Triton does not batch, the one sample has the batch size 1, and the whole shape."""
    tensor = spec.Input(dtype="FP32", shape=(2, 3))
    model = changed(MODELS["zeros"], max_batch_size=0, inputs={"x": tensor}, warmup=spec.Warmup(data="zeros"))
    (sample,) = warmup.samples(model, {})
    assert (sample["batch_size"], sample["inputs"]["x"]["dims"]) == (1, [2, 3])


@pytest.mark.parametrize("data", ["zeros", "random", "goldens"])
def test_samples_are_fields_of_triton(data: str) -> None:
    """What is made is a ModelConfig."""
    model = changed(MODELS["zeros"], warmup=spec.Warmup(data=data))  # type: ignore[arg-type]
    made = config.model_config(model, digest=None, rows={"input_ids": (4,)})
    assert fields.check({"model_warmup": made["model_warmup"]}) == []
    assert config.parse(config.dump(made))["model_warmup"] == made["model_warmup"]


def test_file_names_are_apart() -> None:
    """Tensors whose names differ in letters that no file should have get different files."""
    tensor = spec.Input(dtype="FP32", shape=(4,))
    model = changed(MODELS["warm"], inputs={"a/b": tensor, "a:b": tensor, "../x": tensor})
    assert [warmup.file_name(model, name) for name in model.inputs] == [
        "golden-0-a_b.bin",
        "golden-1-a_b.bin",
        "golden-2-.._x.bin",
    ]
