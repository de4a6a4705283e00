"""TorchScript: trace and script, with canonical bytes. Needs torch, inside its functions only.

PyTorch calls TorchScript deprecated in favour of torch.export since 2.11; Triton's PyTorch backend still reads it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import build, errors
from pipeline.edges.exporters import signature

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    Arrays = Mapping[str, npt.NDArray[Any]]
    Runner = Callable[[Arrays], dict[str, npt.NDArray[Any]]]

ARCHIVE = "model.pt"
WRITERS_OWN = (".data/serialization_id", "version", ".data/version")


def prepare() -> None:
    """Settings under which eager and exported numbers repeat: one thread, deterministic algorithms, no gradients."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    # What torch.use_deterministic_algorithms does, which imports the whole compiler first: as long as torch itself.
    torch._C._set_deterministic_algorithms(True, warn_only=True)  # noqa: FBT003, SLF001
    torch.set_grad_enabled(False)
    torch.backends.mkldnn.deterministic = True


def eager(module: torch.nn.Module, made: build.Build) -> Runner:
    """The eager model, asked by the declared tensors."""
    from pipeline.edges.exporters import wrapper  # noqa: PLC0415 - needs torch

    return runner(wrapper.wrap(module, made), made)


def trace(module: torch.nn.Module, example: Arrays, made: build.Build, folder: Path) -> None:
    """Record one run on `example`. Raises errors.PipelineError for what cannot be traced."""
    from pipeline.edges.exporters import precision, wrapper  # noqa: PLC0415 - need torch

    lower = precision.lower(module, made)
    _record(wrapper.wrap(lower, made, dtype=precision.dtype(made)), example, made, folder)


def script(module: torch.nn.Module, example: Arrays, made: build.Build, folder: Path) -> None:
    """Compile the model's code, branches and loops with it; the wrapper around it is recorded.

    Raises errors.PipelineError with what TorchScript refused.
    """
    import torch  # noqa: PLC0415

    from pipeline.edges.exporters import precision, wrapper  # noqa: PLC0415 - need torch

    try:
        compiled = torch.jit.script(precision.lower(module, made))
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        msg = f"TorchScript cannot compile {type(module).__name__}: {lines[0] if lines else type(error).__name__}"
        hint = "Use `export: trace`, or write the model within TorchScript's language (transformers' models are not)."
        raise errors.PipelineError(msg, hint=hint, details=lines[1:16]) from error
    _record(wrapper.wrap(compiled, made, scripted=True, dtype=precision.dtype(made)), example, made, folder)


def load(path: Path, made: build.Build) -> Runner:
    """An artifact read back. Raises errors.PipelineError when it is none, or takes other arguments than declared."""
    import torch  # noqa: PLC0415

    try:
        module = torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        msg = f"{path.name} is no TorchScript archive: {str(error).splitlines()[0]}"
        raise errors.PipelineError(msg, hint="Give the file that torch.jit.save wrote.") from error
    arguments = [argument.name for argument in module.forward.schema.arguments[1:]]
    if len(arguments) != len(made.inputs):
        msg = (
            f"the artifact takes {len(arguments)} inputs ({', '.join(arguments)}), and {len(made.inputs)} are declared"
        )
        raise errors.PipelineError(msg, hint="Declare every input of the artifact.")
    return runner(module.eval(), made, arguments)


def runner(module: Any, made: build.Build, arguments: list[str] | None = None) -> Runner:  # noqa: ANN401
    """A module as numpy asks it. Where all declared names are arguments they match by name, as Triton has it."""
    import torch  # noqa: PLC0415

    named = [name for name, _ in signature.inputs(made)]
    names = arguments if arguments is not None and set(arguments) == set(made.inputs) else named
    outputs = signature.outputs(made)

    def run(inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        with torch.no_grad(), torch.jit.optimized_execution(False):  # noqa: FBT003 - torch's own
            given = module(*(torch.from_numpy(inputs[name]) for name in names))
        results = (
            [given] if isinstance(given, torch.Tensor) else list(given) if isinstance(given, (tuple, list)) else []
        )
        if len(results) < len(outputs):
            msg = f"the model gives {len(results)} tensors, and {len(outputs)} are declared"
            raise errors.PipelineError(msg, hint="Declare the outputs that it has.")
        return {name: result.numpy() for name, result in zip(outputs, results, strict=False)}

    return run


def _record(module: torch.nn.Module, example: Arrays, made: build.Build, folder: Path) -> None:
    import torch  # noqa: PLC0415

    tensors = tuple(torch.from_numpy(example[name]) for name, _ in signature.inputs(made))
    try:
        recorded = torch.jit.trace(module, tensors, check_trace=False)
    except errors.PipelineError:
        raise
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        msg = f"TorchScript cannot trace the model: {lines[0] if lines else type(error).__name__}"
        raise errors.PipelineError(msg, hint="Change the model's code, or its inputs.", details=lines[1:16]) from error
    with tempfile.TemporaryDirectory(dir=folder, prefix=".raw-") as aside:
        raw = Path(aside, ARCHIVE)
        torch.jit.save(recorded, str(raw))
        _canonical(raw, folder / ARCHIVE)


def _canonical(raw: Path, target: Path) -> None:
    """Write an archive again with its records sorted and under one name, without those that hold source paths.

    The writer names the archive by its file and makes the serialization id from the records' checksums.
    """
    import torch  # noqa: PLC0415

    reader = torch._C.PyTorchFileReader(str(raw))  # noqa: SLF001 - there is no public way
    writer = torch._C.PyTorchFileWriter(str(target))  # noqa: SLF001
    for name in sorted(reader.get_all_records()):
        if not name.endswith(".debug_pkl") and name not in WRITERS_OWN:
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
