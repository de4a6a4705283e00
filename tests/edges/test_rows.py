"""Rows of goldens as bytes: the first row of each input of the smallest batch, as numpy would give it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save_file

from pipeline.core import errors
from pipeline.edges import rows
from pipeline.stages import gather

KINDS = [np.bool_, np.uint8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64]
SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, max_side=5)


@hypothesis.given(
    st.dictionaries(st.sampled_from(["x", "a/b", "input__0"]), st.sampled_from(KINDS).flatmap(
        lambda kind: arrays.arrays(kind, SHAPES)), min_size=1),
    st.booleans(),
)  # fmt: skip
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_rows(tmp_path: Path, inputs: dict[str, Any], batched: bool) -> None:  # noqa: FBT001
    """Whatever the types and the shapes, the bytes are those of the row, and the shape is the row's."""
    tensors = {f"3/input/{name}": array for name, array in inputs.items()}
    tensors |= {f"12/input/{name}": np.zeros((12, 1), array.dtype) for name, array in inputs.items()}
    tensors |= {"3/output/x": np.ones((3,), np.float32)}
    save_file(tensors, tmp_path / "golden", metadata={"pipeline": "{}"})
    found = rows.read(tmp_path / "golden", tuple(inputs), batched=batched)
    for name, array in inputs.items():
        wanted = array[0] if batched else array
        assert found[name].data == wanted.tobytes()
        assert found[name].shape == wanted.shape


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff" * 40, gather.NOTHING, b"\2" + b"\0" * 7 + b"[]", b"\x10" + b"\0" * 7 + b'{"1/input/x": 7}'],
)
def test_no_golden(tmp_path: Path, data: bytes) -> None:
    """A file that has no such row is refused, and how to mend it is said."""
    (tmp_path / "golden").write_bytes(data)
    with pytest.raises(errors.PipelineError, match="has no golden row") as caught:
        rows.read(tmp_path / "golden", ("x",))
    assert "export" in caught.value.hint


def test_nothing_is_a_golden_without_tensors(tmp_path: Path) -> None:
    """What stands for the goldens of a model that cannot be asked is a safetensors file like any other."""
    from pipeline.edges import goldens  # noqa: PLC0415

    (tmp_path / "golden").write_bytes(gather.NOTHING)
    assert goldens.read(tmp_path / "golden") == {}
