"""Texts in golden files: whatever their bytes are, they come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import build, errors, spec
from pipeline.edges import goldens, rows

MADE = build.Build(
    model="m",
    version=1,
    source=build.Resolved(kind="path", identity={}),
    export=spec.Export(method="tokenizer"),
    max_batch_size=4,
    inputs={"text": spec.Input(dtype="STRING", shape=("batch", 2))},
    outputs={"ids": spec.Output(dtype="INT32", shape=("batch", "tokens"))},
    axes={},
    golden=spec.Golden(texts=("one", "caf\u00e9", "")),
    batches=(1, 2),
    tokenizer=None,
    toolchain={},
    exporter=1,
)


def array(texts: list[bytes], *shape: int) -> Any:
    """An array of texts."""
    found = np.empty(len(texts), dtype=np.object_)
    found[:] = texts
    return found.reshape(shape)


@given(st.lists(st.binary(max_size=9), max_size=6))
def test_bytes_and_back(texts: list[bytes]) -> None:
    """Every text comes back, with zeros at its end too."""
    back = goldens.bytes_as_strings(goldens.strings_as_bytes(array(texts, len(texts), 1)))
    assert (back.shape, back.ravel().tolist()) == ((len(texts), 1), texts)


def test_file_keeps_texts(tmp_path: Path) -> None:
    """A golden file has texts beside numbers, and equal ones are equal bytes."""
    path = tmp_path / goldens.FILE
    cases = {
        batch: (goldens.inputs(MADE, batch, sizes={}, tokenizer=None), {"ids": np.ones((batch, 3), np.int32)})
        for batch in MADE.batches
    }
    goldens.save(path, cases, MADE)
    first = path.read_bytes()
    found = goldens.unpacked(first)
    assert found["2/input/text"].tolist() == [[b"one", "caf\u00e9".encode()], [b"", b"one"]]
    assert found["2/output/ids"].tolist() == [[1, 1, 1]] * 2
    goldens.save(path, cases, MADE)
    assert path.read_bytes() == first


def test_warm_up_has_the_text_as_triton_packs_it(tmp_path: Path) -> None:
    """A row of texts is each text behind its length, without the filling."""
    path = tmp_path / goldens.FILE
    goldens.save(path, {1: ({"text": array([b"ab", b"c"], 1, 2)}, {"ids": np.ones((1, 1), np.int32)})}, MADE)
    found = rows.read(path, ("text",))["text"]
    assert (found.shape, found.data) == ((2,), b"\x02\0\0\0ab\x01\0\0\0c")


def test_no_texts(tmp_path: Path) -> None:
    """Without texts nothing can be asked; bytes that are no golden are refused."""
    bare = msgspec.structs.replace(MADE, golden=spec.Golden())
    with pytest.raises(errors.PipelineError, match="a tensor of texts"):
        goldens.inputs(bare, 1, sizes={}, tokenizer=None)
    (tmp_path / "bad").write_bytes(b"\x10")
    with pytest.raises(errors.PipelineError, match="is no golden"):
        goldens.read(tmp_path / "bad")
