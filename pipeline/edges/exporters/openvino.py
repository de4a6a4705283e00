"""OpenVINO's IR, version 11: the ONNX graph converted, as two files with canonical bytes.

By way of ONNX, since its operators become OpenVINO's plain ones: an older release in the image reads them.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from pipeline.core import build, errors
from pipeline.edges.exporters import agreement, onnx
from pipeline.triton_backends import named
from pipeline.triton_backends.openvino import parameters

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    Arrays = Mapping[str, npt.NDArray[Any]]
    Runner = Callable[[Arrays], dict[str, npt.NDArray[Any]]]

ARCHIVE = "model.xml"
WEIGHTS = "model.bin"
_OPSET = re.compile(r"opset([0-9]+)")
_LEAST = 1024  # weights: of fewer there is nothing to gain


def export(module: torch.nn.Module, example: Arrays, made: build.Build, folder: Path) -> None:
    """Writes graph and weights. Raises errors.PipelineError for what cannot be exported, or needs operators that the
    image's OpenVINO does not have."""
    import openvino  # noqa: PLC0415

    from pipeline.core import formats  # noqa: PLC0415 - a plan names this module, and judges no image

    half = made.export is not None and made.export.precision == "fp16"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".onnx-") as aside:
        opset, ir = formats.onnx(None)
        onnx.write(onnx.graph(module, example, made, opset=opset, ir=ir), Path(aside))
        try:
            model = openvino.convert_model(str(Path(aside, onnx.ARCHIVE)))
        except Exception as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            msg = f"OpenVINO cannot convert the model: {lines[0] if lines else type(error).__name__}"
            raise errors.PipelineError(msg, hint="Use `export: onnx`.", details=lines[1:16]) from error
        if onnx.is_quantized(made):
            _quantize(model)
        _name(model)
        openvino.save_model(model, str(folder / ARCHIVE), compress_to_fp16=half)
    graph = ET.parse(folder / ARCHIVE)  # noqa: S314 - written a line above
    _check_operators(graph, made)
    _clear(graph, folder / ARCHIVE)


def _quantize(model: Any) -> None:  # noqa: ANN401
    """Makes the weights of products integers, each column with a scale of its own."""
    import numpy as np  # noqa: PLC0415
    from openvino import opset13 as ops  # noqa: PLC0415

    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        source = node.input_value(1).get_node()
        if source.get_type_name() != "Constant" or source.get_element_type().get_type_name() != "f32":
            continue
        weights = source.get_data()
        if weights.ndim != 2 or weights.size < _LEAST:
            continue
        axis = 1 if node.get_attributes()["transpose_b"] else 0
        scale = np.maximum(np.abs(weights).max(axis=axis, keepdims=True) / 127, np.finfo(np.float32).tiny)
        whole = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
        back = ops.multiply(ops.convert(ops.constant(whole), "f32"), ops.constant(scale.astype(np.float32)))
        node.input(1).replace_source_output(back.output(0))


def _name(model: Any) -> None:  # noqa: ANN401 - OpenVINO's own
    """Names by order, where OpenVINO's are counted up from whatever the process did before."""
    model.set_friendly_name("main")
    for place, node in enumerate(model.get_ordered_ops()):
        node.set_friendly_name(f"{node.get_type_name()}_{place}")


def _check_operators(graph: ET.ElementTree[Any], made: build.Build) -> None:
    """Raises errors.PipelineError where an operator is of a newer set than the image's OpenVINO has."""
    if made.opset is None:
        return
    found = {(_opset(layer.get("version")), str(layer.get("type"))) for layer in graph.iter("layer")}
    newer = sorted(f"{kind} (opset{number})" for number, kind in found if number > made.opset)
    if newer:
        msg = f"the image's OpenVINO has the operators of opset{made.opset}, and the model needs {', '.join(newer)}"
        raise errors.PipelineError(msg, hint="Take a newer image, or `export: onnx`.")


def _opset(version: str | None) -> int:
    match = _OPSET.fullmatch(version or "")
    return int(match[1]) if match else 0


def _clear(graph: ET.ElementTree[Any], path: Path) -> None:
    """Removes where the graph came from and what wrote it."""
    root = graph.getroot()
    for about in root.findall("rt_info"):
        root.remove(about)
    graph.write(path, encoding="utf-8", xml_declaration=True)


def load(path: Path, made: build.Build) -> Runner:
    """The artifact as OpenVINO runs it on a CPU, in full precision and on one thread. Raises errors.PipelineError when
    it is none, or when its tensors are not the declared ones, as NVIDIA's backend compares them."""
    import openvino  # noqa: PLC0415

    core = openvino.Core()
    try:
        model = core.read_model(str(path))
    except Exception as error:
        msg = f"OpenVINO cannot read {path.name}: {str(error).splitlines()[0]}"
        raise errors.PipelineError(msg, hint="Give the .xml of an IR, with its .bin beside it.") from error
    found = [{tensor.get_any_name(): _found(tensor) for tensor in side} for side in (model.inputs, model.outputs)]
    agreement.check(made, found[0], {}, found[1], parameters.RULES)
    compiled = core.compile_model(model, "CPU", {**parameters.FULL_PRECISION, "INFERENCE_NUM_THREADS": 1})
    request = compiled.create_infer_request()
    outputs = list(made.outputs)

    def run(inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        request.infer(dict(inputs))
        return {name: request.get_tensor(name).data.copy() for name in outputs}

    return run


def _found(tensor: Any) -> named.Found:  # noqa: ANN401
    shape = tuple(size.get_length() if size.is_static else -1 for size in tensor.get_partial_shape())
    return named.Found(parameters.TYPES.get(tensor.get_element_type().get_type_name(), "TYPE_INVALID"), shape)
