"""The command lines of TensorRT's `trtexec`, and what it says of an engine's answers. Nothing is run here.

Its options are those of TensorRT 8.6 to 10: https://docs.nvidia.com/deeplearning/tensorrt/latest/reference/command-line-programs.html
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pipeline.core import build, errors, spec

PROGRAM = "/usr/src/tensorrt/bin/trtexec"
_USUAL = 128
_PRECISIONS = {"fp16": ("--fp16",), "bf16": ("--bf16",)}


class Answer(msgspec.Struct, frozen=True):
    """One output tensor, as `--exportOutput` writes it: sizes as `2x384`, values in a row."""

    name: str
    dimensions: str
    values: tuple[float, ...]


def compiling(made: build.Build, graph: str, engine: str) -> list[str]:
    """The words that make an engine of an ONNX graph: of every size that the spec declares, best at the usual ones."""
    shapes = [
        f"--{word}Shapes={','.join(_shape(name, tensor, sizes) for name, tensor in made.inputs.items())}"
        for word, sizes in (("min", _sizes(made, "min")), ("opt", _sizes(made, "opt")), ("max", _sizes(made, "max")))
    ]
    varies = any(isinstance(size, str) for tensor in made.inputs.values() for size in tensor.shape)
    precision = _PRECISIONS.get(made.export.precision, ()) if made.export else ()
    return [
        PROGRAM,
        f"--onnx={graph}",
        f"--saveEngine={engine}",
        *(shapes if varies else ()),
        *precision,
        "--skipInference",
    ]


def asking(
    made: build.Build, engine: str, sizes: Mapping[str, int], files: Mapping[str, str], answer: str
) -> list[str]:
    """The words that run an engine once: `files` has each input's raw bytes, `answer` gets the outputs."""
    shapes = ",".join(_shape(name, tensor, sizes) for name, tensor in made.inputs.items())
    given = ",".join(f"{name}:{path}" for name, path in files.items())
    return [
        PROGRAM,
        f"--loadEngine={engine}",
        f"--shapes={shapes}",
        f"--loadInputs={given}",
        f"--exportOutput={answer}",
        "--iterations=1",
        "--warmUp=0",
        "--duration=0",
    ]


def answers(text: bytes) -> dict[str, tuple[tuple[int, ...], tuple[float, ...]]]:
    """The outputs of a run: shape and values of each. Raises PipelineError for what trtexec does not write."""
    try:
        found = msgspec.json.decode(text, type=list[Answer])
        shapes = {each.name: tuple(int(size) for size in each.dimensions.split("x")) for each in found}
    except (msgspec.DecodeError, ValueError) as error:
        msg = f"trtexec's answer cannot be read: {error}"
        raise errors.PipelineError(msg, hint="This TensorRT may write another form: please report it.") from error
    return {each.name: (shapes[each.name], each.values) for each in found}


def _sizes(made: build.Build, word: str) -> dict[str, int]:
    """The smallest, usual or largest size of each named axis."""
    most = max(made.max_batch_size, 1)
    usual = {name: max(axis.min, min(axis.max, _USUAL)) for name, axis in made.axes.items()}
    return {
        "min": {spec.BATCH: 1, **{name: axis.min for name, axis in made.axes.items()}},
        "opt": {spec.BATCH: most, **usual},
        "max": {spec.BATCH: most, **{name: axis.max for name, axis in made.axes.items()}},
    }[word]


def _shape(name: str, tensor: spec.Input, sizes: Mapping[str, int]) -> str:
    """One input's whole shape, quoted where its name has a colon."""
    whole = "x".join(str(size if isinstance(size, int) else sizes[size]) for size in tensor.shape)
    return f"'{name}':{whole}" if ":" in name else f"{name}:{whole}"
