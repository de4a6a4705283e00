"""trtexec's command lines out of what the spec declares, and its answers read back; TensorRT's part of a build key."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.core import build, errors, spec, trtexec

ENGINE = build.Engine(tensorrt="10.5.0.18", capability="8.0", image="nvcr.io/nvidia/tritonserver:24.10-py3")


def order(**more: Any) -> build.Build:
    """A TensorRT build of two inputs with a dynamic axis."""
    fields: dict[str, Any] = {
        "model": "m",
        "version": 1,
        "source": build.Resolved(kind="config", identity={}),
        "export": spec.Export(method="tensorrt"),
        "max_batch_size": 8,
        "inputs": {
            "ids": spec.Input(dtype="INT32", shape=("batch", "sequence")),
            "a:b": spec.Input(dtype="FP32", shape=("batch", 3)),
        },
        "outputs": {"y": spec.Output(dtype="FP32", shape=("batch", 2))},
        "axes": {"sequence": spec.Axis(min=4, max=512)},
        "golden": spec.Golden(),
        "batches": (1, 2, 8),
        "tokenizer": None,
        "toolchain": {},
        "exporter": 1,
        "engine": ENGINE,
    }
    return build.Build(**{**fields, **more})


def test_engine_takes_every_declared_size() -> None:
    """The smallest, usual and largest shapes are those of batch and axes, of every input, fixed sizes included."""
    assert trtexec.compiling(order(), "in.onnx", "out.plan") == [
        trtexec.PROGRAM,
        "--onnx=in.onnx",
        "--saveEngine=out.plan",
        "--minShapes=ids:1x4,'a:b':1x3",
        "--optShapes=ids:8x128,'a:b':8x3",
        "--maxShapes=ids:8x512,'a:b':8x3",
        "--skipInference",
    ]


def test_fixed_shapes_and_precision() -> None:
    """Without an axis that varies no shapes are given; a lower precision is allowed by its own word."""
    inputs = {"x": spec.Input(dtype="FP32", shape=(1, 3))}
    export = spec.Export(method="tensorrt", precision="fp16")
    made = order(inputs=inputs, axes={}, max_batch_size=0, batches=(1,), export=export)
    assert trtexec.compiling(made, "a", "b")[3:] == ["--fp16", "--skipInference"]


def test_question_has_the_shapes_of_its_inputs() -> None:
    """One run is asked with the very sizes of its inputs, which are read from files."""
    words = trtexec.asking(order(), "e", {"batch": 2, "sequence": 7}, {"ids": "i0", "a:b": "i1"}, "o.json")
    assert words[1:5] == [
        "--loadEngine=e", "--shapes=ids:2x7,'a:b':2x3", "--loadInputs=ids:i0,a:b:i1", "--exportOutput=o.json",
    ]  # fmt: skip


def test_answers_are_read_or_refused() -> None:
    """Outputs come back by name with their shapes; anything else is an error with a hint."""
    text = b'[{"name": "y", "dimensions": "1x2", "values": [0.5, -1]}]'
    assert trtexec.answers(text) == {"y": ((1, 2), (0.5, -1.0))}
    for broken in (b"", b"{}", b'[{"name": "y", "dimensions": "1xq", "values": []}]'):
        with pytest.raises(errors.PipelineError) as caught:
            trtexec.answers(broken)
        assert caught.value.hint


def test_key_has_tensorrt_and_capability_and_not_the_image() -> None:
    """Another TensorRT or another kind of GPU is another engine; another image with the same TensorRT is not."""

    def key(**more: str) -> str:
        return build.key(order(engine=msgspec.structs.replace(ENGINE, **more)))

    assert key() == key(image="mine:1")
    assert len({key(), key(tensorrt="10.9.0.34"), key(capability="9.0")}) == 3
