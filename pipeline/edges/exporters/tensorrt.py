"""TensorRT: an engine made of the ONNX graph by `trtexec` in the target image, on this machine's GPU.

An engine runs on one kind of GPU and in one version of TensorRT: its build key names both.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import build, errors
from pipeline.edges.exporters import onnx

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    Arrays = Mapping[str, npt.NDArray[Any]]
    Runner = Callable[[Arrays], dict[str, npt.NDArray[Any]]]

ARCHIVE = "model.plan"
_INSIDE = "/build"
_NEEDED = {
    "nvidia-smi": "an NVIDIA GPU with its driver (`nvidia-smi` is not there)",
    "docker": "the `docker` program, to run the image's `trtexec`",
}
_TAIL = 15


def export(module: torch.nn.Module, example: Arrays, made: build.Build, folder: Path) -> None:
    """Exports to ONNX and makes an engine of it. Raises errors.Unfit where the machine lacks what that takes,
    errors.PipelineError with trtexec's last lines where it fails."""
    from pipeline.core import formats, trtexec  # noqa: PLC0415 - a plan names this module, and makes no engine

    check(made)
    opset, ir = formats.onnx(None)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".onnx-") as aside:
        onnx.write(onnx.graph(module, example, made, opset=opset, ir=ir), Path(aside))
        _run(made, Path(aside), trtexec.compiling(made, f"{_INSIDE}/{onnx.ARCHIVE}", f"{_INSIDE}/{ARCHIVE}"))
        Path(aside, ARCHIVE).replace(folder / ARCHIVE)


def check(made: build.Build) -> None:
    """Raises errors.Unfit naming everything that is missing here."""
    missing = [text for program, text in _NEEDED.items() if shutil.which(program) is None]
    if made.engine is None or not made.engine.capability:
        missing.append("a GPU whose compute capability is known")
    if missing:
        msg = f"a TensorRT engine of {made.model} cannot be made here: there is not {', nor '.join(missing)}"
        raise errors.Unfit(msg, hint="Export it on the GPU server, or choose another `export`; `doctor` tells more.")


def load(path: Path, made: build.Build) -> Runner:
    """The engine as `trtexec` runs it in the target image. Raises errors.Unfit as `export` does."""
    check(made)

    def run(inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".run-") as aside:
            return _ask(made, path, Path(aside), inputs)

    return run


def _ask(made: build.Build, path: Path, aside: Path, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
    import numpy as np  # noqa: PLC0415

    from pipeline.core import trtexec  # noqa: PLC0415

    os.link(path, aside / ARCHIVE)
    sizes: dict[str, int] = {}
    files = {}
    for place, (name, array) in enumerate(inputs.items()):
        (aside / f"input{place}").write_bytes(np.ascontiguousarray(array).tobytes())
        files[name] = f"{_INSIDE}/input{place}"
        named = zip(made.inputs[name].shape, array.shape, strict=True)
        sizes |= {axis: size for axis, size in named if isinstance(axis, str)}
    words = trtexec.asking(made, f"{_INSIDE}/{ARCHIVE}", sizes, files, f"{_INSIDE}/answer.json")
    _run(made, aside, words)
    told = trtexec.answers((aside / "answer.json").read_bytes())
    types = {"FP16": "float16", "FP32": "float32", "FP64": "float64"}
    return {
        name: np.array(told[name][1]).reshape(told[name][0]).astype(types.get(output.dtype, output.dtype.lower()))
        for name, output in made.outputs.items()
        if name in told
    }


def _run(made: build.Build, folder: Path, words: list[str]) -> None:
    """Runs a program in the target image, with the folder at hand, without a network, as this user."""
    image = made.engine.image if made.engine else ""
    user = f"--user={os.getuid()}:{os.getgid()}"
    line = ["docker", "run", "--rm", "--gpus=all", "--network=none", user, f"--volume={folder}:{_INSIDE}", image]
    ended = subprocess.run(
        [*line, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    if ended.returncode:
        msg = f"trtexec in {image} ended with {ended.returncode}"
        hint = "Its last lines are below; `doctor` tells whether the GPU can be used in containers."
        raise errors.PipelineError(msg, hint=hint, details=ended.stdout.splitlines()[-_TAIL:])
