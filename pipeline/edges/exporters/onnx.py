"""ONNX: torch.export's graph, in the opset and IR version that the build names, with canonical bytes.

What torch's exporter writes beside the graph (source paths, stack traces, names of its own) is cleared, and the graph's
inputs and outputs are exactly the declared tensors: NVIDIA's backend refuses a model whose sizes are not the config's.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import build, errors
from pipeline.edges.exporters import agreement, signature, symbolic
from pipeline.triton_backends import named
from pipeline.triton_backends.onnxruntime import parameters

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    Arrays = Mapping[str, npt.NDArray[Any]]
    Runner = Callable[[Arrays], dict[str, npt.NDArray[Any]]]

ARCHIVE = "model.onnx"
WEIGHTS = "model.onnx.data"
LARGEST = 2**31 - 2**24
"""Bytes of weights that one file may hold: protobuf reads 2 GiB at most, and the graph needs some."""

_LEAST = 1024  # bytes: what is smaller stays in the graph, as shapes must


def export(module: torch.nn.Module, example: Arrays, made: build.Build, folder: Path) -> None:
    """Writes the graph that torch.export sees. Raises errors.PipelineError for what cannot be exported."""
    from pipeline.edges.exporters import precision  # noqa: PLC0415 - needs torch

    dtype = precision.dtype(made)
    lower = precision.lower(module, made) if dtype else module
    write(graph(lower, example, made, opset=made.opset, ir=made.ir, dtype=dtype), folder)
    if is_quantized(made):
        quantize(folder, made, ir=made.ir)


def graph(  # noqa: PLR0913 - the model, and what it is written as
    module: torch.nn.Module,
    example: Arrays,
    made: build.Build,
    *,
    opset: int | None,
    ir: int | None,
    dtype: torch.dtype | None = None,
) -> Any:  # noqa: ANN401 - onnx_ir has no types here
    """The model as onnx_ir's, whose inputs and outputs are the declared tensors, in this opset and IR version."""
    import torch  # noqa: PLC0415

    from pipeline.edges.exporters import wrapper  # noqa: PLC0415 - needs torch

    names = [name for name, _ in signature.inputs(made)]
    wrapped = wrapper.wrap(module, made, dtype=dtype)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            program = torch.onnx.export(
                wrapped, symbolic.tensors(example, made), dynamo=True, verbose=False, optimize=True,
                opset_version=opset, dynamic_shapes=symbolic.shapes(made),
                input_names=names, output_names=signature.outputs(made),
            )  # fmt: skip
    except errors.PipelineError:
        raise
    except Exception as error:
        raise symbolic.refused(error) from error
    model = program.model
    _clear(model, made)
    model.ir_version = ir
    return model


def is_quantized(made: build.Build) -> bool:
    """Whether the weights are to be integers."""
    return made.export is not None and made.export.precision == "int8"


def quantize(folder: Path, made: build.Build, *, ir: int | None) -> None:
    """Makes the weights of the graph in the folder integers, and the graph one that makes so what they are multiplied
    by, in each run. Raises errors.PipelineError for weights that lie beside it."""
    import onnx_ir  # noqa: PLC0415
    from onnxruntime import quantization  # noqa: PLC0415

    whole, path = folder / "whole.onnx", folder / ARCHIVE
    if (folder / WEIGHTS).exists():
        msg = "weights beyond 2 GiB cannot be made integers"
        raise errors.PipelineError(msg, hint="Use `precision: fp16`, or another format.")
    path.replace(whole)
    logging.disable(logging.WARNING)
    quantization.quantize_dynamic(whole, path, weight_type=quantization.QuantType.QInt8)
    whole.unlink()
    model = onnx_ir.load(path)
    _clear(model, made)
    model.ir_version = ir
    write(model, folder)


def _clear(model: Any, made: build.Build) -> None:  # noqa: ANN401
    """Removes all that is not the graph, and sets the versions and the declared shapes."""
    import onnx_ir  # noqa: PLC0415

    kept = set(model.graph.inputs) | set(model.graph.outputs)
    for part in (model, model.graph, *model.functions.values()):
        _strip(part)
    for node in model.graph.all_nodes():
        _strip(node)
        for value in node.outputs:
            _strip(value)
            if value not in kept:
                value.shape = None  # each runtime infers these by itself
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        _strip(value)
    for value in (*model.graph.inputs, *model.graph.outputs):
        declared = made.inputs.get(value.name) or made.outputs[value.name]
        value.shape = onnx_ir.Shape(list(declared.shape))
    model.producer_name, model.producer_version, model.graph.name = "pytorch", made.toolchain.get("torch"), "main"


def _strip(part: Any) -> None:  # noqa: ANN401
    part.metadata_props.clear()
    if hasattr(part, "doc_string"):
        part.doc_string = None


def write(model: Any, folder: Path, *, largest: int = LARGEST) -> None:  # noqa: ANN401
    """Writes the model as one file, or its weights beside it where they are more than protobuf can hold.

    Raises errors.PipelineError where it is not valid ONNX.
    """
    import onnx_ir  # noqa: PLC0415

    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    if size > largest:
        onnx_ir.save(model, folder / ARCHIVE, external_data=WEIGHTS, size_threshold_bytes=_LEAST)
    else:
        proto = onnx_ir.to_proto(model)
        (folder / ARCHIVE).write_bytes(proto.SerializeToString(deterministic=True))
    _check(folder / ARCHIVE)


def _check(path: Path) -> None:
    """The checker of the format itself, with shape inference over the whole graph. Raises errors.PipelineError."""
    import onnx  # noqa: PLC0415

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        msg = f"the exported graph is not valid ONNX: {lines[0] if lines else type(error).__name__}"
        hint = "Correct the declared shapes and types; if they are right, choose another `opset` or `export: trace`."
        raise errors.PipelineError(msg, hint=hint, details=lines[1:16]) from error


def load(path: Path, made: build.Build) -> Runner:
    """The artifact as ONNX Runtime runs it, on one thread. Raises errors.PipelineError when it is none, or when its
    tensors are not the declared ones, as NVIDIA's backend compares them."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        msg = f"ONNX Runtime {onnxruntime.__version__} cannot load {path.name}: {str(error).splitlines()[0]}"
        raise errors.PipelineError(msg, hint="Give a file that it can: it is what serves the model.") from error
    initializers = _found(session.get_overridable_initializers())
    agreement.check(made, _found(session.get_inputs()), initializers, _found(session.get_outputs()), parameters.RULES)
    outputs = list(made.outputs)

    def run(inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        try:
            return dict(zip(outputs, session.run(outputs, dict(inputs)), strict=True))
        except Exception as error:
            raise RuntimeError(str(error)) from error  # its exceptions have no base of their own

    return run


def _found(tensors: Any) -> dict[str, named.Found]:  # noqa: ANN401 - ONNX Runtime's own
    return {
        tensor.name: named.Found(
            parameters.TYPES.get(tensor.type, "TYPE_INVALID"),
            tuple(size if isinstance(size, int) else -1 for size in tensor.shape),
        )
        for tensor in tensors
    }
