"""Tiny ONNX models for the tests against a real Triton."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

Shape = Sequence[int | str | None]
Tensors = Mapping[str, tuple[int, Shape]]
FP = TensorProto.FLOAT


def save(path: Path, nodes: Sequence[onnx.NodeProto], inputs: Tensors, outputs: Tensors, **initializers: Any) -> None:
    """A model of these nodes, in the oldest opset and IR version that all images load."""

    def infos(tensors: Tensors) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in tensors.items()]

    values = [onnx.numpy_helper.from_array(value, name) for name, value in initializers.items()]
    graph = helper.make_graph(nodes, "g", infos(inputs), infos(outputs), values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)


def subtract(path: Path, *, shape: Shape = ("batch", 4), out: Shape = ("batch", 4), kind: int = FP) -> None:
    """Not symmetric: a swapped order shows."""
    node = helper.make_node("Sub", ["left", "right"], ["answer"])
    save(path, [node], {"left": (kind, shape), "right": (kind, shape)}, {"answer": (kind, out)})


def pair(path: Path) -> None:
    """Two outputs: x + 1 and x + 2."""
    one = helper.make_node("Constant", [], ["one"], value=helper.make_tensor("c", FP, [1], [1.0]))
    nodes = [one, helper.make_node("Add", ["x", "one"], ["b"]), helper.make_node("Add", ["b", "one"], ["a"])]
    save(path, nodes, {"x": (FP, ["batch", 4])}, {"b": (FP, ["batch", 4]), "a": (FP, ["batch", 4])})


def rows(path: Path) -> None:
    """Tells each row how many rows the run had."""
    zero = helper.make_node("Constant", [], ["zero"], value=helper.make_tensor("z", FP, [1], [0.0]))
    first = helper.make_node("Constant", [], ["first"], value=helper.make_tensor("f", TensorProto.INT64, [1], [0]))
    nodes = [
        zero,
        first,
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["count"]),
        helper.make_node("Cast", ["count"], ["number"], to=FP),
        helper.make_node("Mul", ["x", "zero"], ["blank"]),
        helper.make_node("Add", ["blank", "number"], ["y"]),
    ]
    save(path, nodes, {"x": (FP, ["batch", 4])}, {"y": (FP, ["batch", 4])})


def identity(path: Path, kinds: Mapping[str, int]) -> None:
    """Each input comes out under `out_<name>` as it went in."""
    nodes = [helper.make_node("Identity", [name], [f"out_{name}"]) for name in kinds]
    inputs: Tensors = {name: (kind, ["batch", 2]) for name, kind in kinds.items()}
    outputs: Tensors = {f"out_{name}": (kind, ["batch", 2]) for name, kind in kinds.items()}
    save(path, nodes, inputs, outputs)


def flat(path: Path) -> None:
    """Takes one axis of any length, and gives its sum as a scalar and the values doubled."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "x"], ["twice"]),
    ]
    save(path, nodes, {"x": (FP, ["n"])}, {"sum": (FP, []), "twice": (FP, ["n"])})


def optional(path: Path) -> None:
    """Adds a step that has a value of its own, 10, where none is given."""
    import numpy as np  # noqa: PLC0415

    node = helper.make_node("Add", ["x", "step"], ["y"])
    tensors: Tensors = {"x": (FP, [4]), "step": (FP, [1])}
    save(path, [node], tensors, {"y": (FP, [4])}, step=np.array([10], np.float32))


def sequence(path: Path) -> None:
    """An output that is no tensor."""
    node = helper.make_node("SplitToSequence", ["x"], ["y"], axis=0)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", FP, ["batch", 4])],
        [helper.make_tensor_sequence_value_info("y", FP, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)


def gather(path: Path) -> None:
    """Fails for an index beyond 3."""
    import numpy as np  # noqa: PLC0415

    node = helper.make_node("Gather", ["table", "x"], ["y"])
    inputs: Tensors = {"x": (TensorProto.INT64, ["batch", 4])}
    save(path, [node], inputs, {"y": (FP, ["batch", 4])}, table=np.arange(4, dtype=np.float32))


def nonsense(path: Path) -> None:
    """A file that is no model."""
    path.write_bytes(b"no model")
