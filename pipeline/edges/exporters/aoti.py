"""AOTInductor: torch.export's graph, compiled to a package `model.pt2` for this kind of processor.

A compiler writes other bytes each time, so a package is known by what it was made from: its build key.
"""

from __future__ import annotations

import contextlib
import io
import platform
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import build, errors
from pipeline.edges.exporters import symbolic, torchscript

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    Arrays = Mapping[str, npt.NDArray[Any]]
    Runner = Callable[[Arrays], dict[str, npt.NDArray[Any]]]

ARCHIVE = "model.pt2"
COMPILERS = ("g++", "clang++")
_PORTABLE: dict[str, dict[str, Any]] = {"x86_64": {"cpp.march": "x86-64-v3", "cpp.simdlen": 256}}
"""By machine: what every processor with AVX2 can run, as the goldens are computed, and not what this one is best at."""


def export(module: torch.nn.Module, example: Arrays, made: build.Build, folder: Path) -> None:
    """Compiles the graph that torch.export sees. Raises errors.PipelineError for what cannot be exported or compiled,
    errors.Unfit without a compiler."""
    import torch  # noqa: PLC0415
    import torch._inductor  # noqa: PLC0415 - there is no public name

    from pipeline.edges.exporters import precision, wrapper  # noqa: PLC0415 - need torch

    if not any(map(shutil.which, COMPILERS)):
        msg = "there is no C++ compiler, which `export: aoti` needs"
        raise errors.Unfit(msg, hint="Install one: apt-get install g++.")
    wrapped = wrapper.wrap(precision.lower(module, made), made, dtype=precision.dtype(made))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            program = torch.export.export(
                wrapped, symbolic.tensors(example, made), dynamic_shapes=symbolic.shapes(made)
            )
    except errors.PipelineError:
        raise
    except Exception as error:
        raise symbolic.refused(error) from error
    try:
        torch._inductor.aoti_compile_and_package(  # noqa: SLF001
            program, package_path=str(folder / ARCHIVE), inductor_configs=_PORTABLE.get(platform.machine(), {})
        )
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        msg = f"the model cannot be compiled: {lines[0] if lines else type(error).__name__}"
        raise errors.PipelineError(msg, hint="Use `export: trace` or `onnx`.", details=lines[1:16]) from error


def load(path: Path, made: build.Build) -> Runner:
    """A package read back. Raises errors.PipelineError when it is none."""
    import torch._inductor  # noqa: PLC0415

    try:
        package = torch._inductor.aoti_load_package(str(path))  # noqa: SLF001
    except (RuntimeError, ValueError) as error:
        msg = f"{path.name} is no compiled package: {str(error).splitlines()[0]}"
        raise errors.PipelineError(msg, hint="Give the file that aoti_compile_and_package wrote.") from error
    return torchscript.runner(package, made)
