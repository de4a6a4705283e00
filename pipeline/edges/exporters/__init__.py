"""Exporters: how an eager model becomes an artifact that Triton serves. METHODS is their only registry.

An exporter speaks numpy: `export` writes the artifact, `load` reads one back as a `Runner`. What runs in the export
process imports torch inside its functions, so that this table can be read anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.core import build, platforms
from pipeline.edges.exporters import aoti, onnx, openvino, steps, tensorflow, tensorrt, torchscript
from pipeline.edges.exporters.worker import JOB, RESULT, Failure, Job, Result, command, environment, read

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[np.generic]]

__all__ = [
    "ADOPTED",
    "JOB",
    "METHODS",
    "RESULT",
    "Failure",
    "Job",
    "Method",
    "Result",
    "command",
    "environment",
    "read",
]

Runner = Callable[["Arrays"], "dict[str, npt.NDArray[np.generic]]"]
"""Inputs by name, in the declared types, to outputs by name."""


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """One way to export. `version` counts up whenever this code gives other bytes: it is part of the build key.

    `export(module, example, build, folder)` writes the platform's file into `folder`, and what belongs to it; `example`
    are inputs to record a run with. `load(path, build)` reads the artifact back. Both raise errors.PipelineError for
    what a user can mend. A method that is not `reproducible` gives other bytes each time. `eager(module, build)` is
    the model itself as the goldens are asked of it. A method `of_folder` is given the source's folder, where others are
    given the model that is loaded of it.
    """

    version: int
    reproducible: bool = True
    eager: Callable[[Any, build.Build], Runner] = torchscript.eager
    export: Callable[[Any, Arrays, build.Build, Path], None]
    load: Callable[[Path, build.Build], Runner]
    of_folder: bool = False


METHODS: dict[str, Method] = {
    "trace": Method(version=1, export=torchscript.trace, load=torchscript.load),
    "script": Method(version=1, export=torchscript.script, load=torchscript.load),
    "onnx": Method(version=1, export=onnx.export, load=onnx.load),
    "openvino": Method(version=1, export=openvino.export, load=openvino.load),
    "savedmodel": Method(version=1, eager=tensorflow.eager, export=tensorflow.export, load=tensorflow.load),
    "tensorrt": Method(version=1, reproducible=False, export=tensorrt.export, load=tensorrt.load),
    "aoti": Method(version=1, reproducible=False, export=aoti.export, load=aoti.load),
    "tokenizer": Method(
        version=1,
        eager=steps.tokenizer_eager,
        export=steps.tokenizer_export,
        load=steps.tokenizer_load,
        of_folder=True,
    ),
    "labels": Method(
        version=1, eager=steps.labels_eager, export=steps.labels_export, load=steps.labels_load, of_folder=True
    ),
}
ADOPTED: dict[platforms.Format, Method] = {
    "torchscript": METHODS["trace"],
    "onnx": METHODS["onnx"],
    "openvino": METHODS["openvino"],
    "torch_aoti": METHODS["aoti"],
}
"""How the artifact of a `file` source is read, by its format."""


def codes() -> dict[str | None, int]:
    """The code version of each method, and, of None, that of adopting a finished file."""
    return {None: 1, **{name: method.version for name, method in METHODS.items()}}
