"""What runs inside the export process: `python -m pipeline.stages.build JOB.json FOLDER`.

The eager model gives the goldens, the exporter the artifact, and the artifact, read back from its file, must agree
with the eager model wherever the declared shapes may vary. Before any code of the source runs, the process shuts itself
in: it has no network, and writes into the folder alone. Only the torch environment's libraries are imported here.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.metadata
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.core import build, compare, errors, findings, platforms, spec
from pipeline.edges import exporters, goldens, isolation
from pipeline.edges.exporters import torchscript
from pipeline.stages.build import references

Arrays = dict[str, npt.NDArray[Any]]
Runner = Callable[[Arrays], Arrays]
Cases = dict[int, tuple[Arrays, Arrays]]

EXAMPLE_BATCH = 2
"""A run is recorded at a batch that is not 1: what is special about 1 must not be recorded as the rule."""
NO_MEMORY = ("can't allocate memory", "bad_alloc", "not enough memory")
PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """Build what the job file says into the folder; the exit code is 0 when the Result there has no failure.

    What the user can mend becomes a failure in the Result. Anything else, a limit that was hit included, goes up and
    is seen in the last lines.
    """
    job_file, folder = Path(argv[0]), Path(argv[1])
    with contextlib.suppress(AttributeError):  # Linux only: end with the parent, however that ends
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    job = msgspec.json.decode(job_file.read_bytes(), type=exporters.Job)
    try:
        able = _shut_in(job, folder)
        result = msgspec.structs.replace(run(job, folder), able=able)
    except errors.PipelineError as error:
        if isinstance(error.__cause__, MemoryError) or any(sign in str(error.__cause__) for sign in NO_MEMORY):
            raise
        failure = exporters.Failure(
            message=error.message,
            hint=error.hint,
            details=error.details,
            unverified=isinstance(error, errors.Unverified),
            unfit=isinstance(error, errors.Unfit),
        )
        result = exporters.Result(failure=failure)
    (folder / exporters.RESULT).write_bytes(msgspec.json.encode(result))
    return 0 if result.failure is None else 1


def _shut_in(job: exporters.Job, folder: Path) -> tuple[str, ...]:
    """From here on the process can do no harm; what it could do all the same, where the machine cannot forbid it."""
    check_toolchain(job.build.toolchain)
    references.warm(job)
    home = Path(tempfile.gettempdir())
    memory = home / "shm"
    memory.mkdir()
    return isolation.enter((folder, home), memory)


def run(job: exporters.Job, folder: Path) -> exporters.Result:
    """Load, ask, export, read back, compare. Raises errors.PipelineError."""
    made = job.build
    torchscript.prepare()
    tokenizer = Path(job.tokenizer or job.source or job.root)
    reproducible = True
    if made.steps:
        cases = _goldens(made, references.chain(job), tokenizer, folder)
        checks = [f"batch {batch}: asked of {len(made.steps)} models in turn" for batch in cases]
    elif made.export is None:
        found = references.finished(job, folder)
        cases = _goldens(made, found, tokenizer, folder)
        checks = _check_axes(made, found, found, tokenizer)
    else:
        platform, method = platforms.METHODS[made.export.method], exporters.METHODS[made.export.method]
        reproducible = method.reproducible
        module = references.module(job, method)
        reference = method.eager(module, made)
        cases = _goldens(made, reference, tokenizer, folder)
        batch = min(EXAMPLE_BATCH, made.max_batch_size or EXAMPLE_BATCH)
        method.export(module, goldens.inputs(made, batch, sizes={}, tokenizer=tokenizer), made, folder)
        artifact = method.load(folder / platform.filename, made)
        checks = [*_check_batches(made, artifact, cases), *_losses(made, artifact, cases)]
        checks += _check_axes(made, reference, artifact, tokenizer)
    files = {str(path.relative_to(folder)): _file(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    golden = files.pop(goldens.FILE).sha256
    return exporters.Result(files=files, golden=golden, reproducible=reproducible, checks=tuple(checks))


def check_toolchain(expected: Mapping[str, str]) -> None:
    """Raises errors.PipelineError unless this process has the Python and the libraries that the build key names."""
    for name, version in sorted(expected.items()):
        got = f"{sys.version_info.major}.{sys.version_info.minor}" if name == "python" else _installed(name)
        if got.partition("+")[0] != version.partition("+")[0]:
            msg = f"the build asks for {name} {version}, and this environment has {got or 'none'}"
            raise errors.PipelineError(
                msg, hint="Make the environment again, from requirements/: `nox -s environment`."
            )


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _goldens(made: build.Build, reference: Runner, tokenizer: Path, folder: Path) -> Cases:
    """Ask the reference at every golden batch, and write the file. Raises errors.PipelineError for bad answers."""
    cases: Cases = {}
    for batch in made.batches:
        given = goldens.inputs(made, batch, sizes={}, tokenizer=tokenizer)
        answers = _asked(reference, given, f"the model fails on its golden inputs of batch {batch}")
        for name, answer in answers.items():
            _check_answer(made, name, answer, _sizes(made, given, batch))
        cases[batch] = (given, answers)
    goldens.save(folder / goldens.FILE, cases, made)
    return cases


def _asked(reference: Runner, given: Arrays, failed: str) -> Arrays:
    try:
        return reference(given)
    except errors.PipelineError:
        raise
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        msg = f"{failed}: {type(error).__name__}: {lines[-1] if lines else ''}"
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in given.items())
        hint = "Correct the inputs (shape, dtype, argument, values, axes) or the model."
        raise errors.PipelineError(msg, hint=hint, details=(f"inputs: {shapes}", *lines[:-1][-8:])) from error


def _sizes(made: build.Build, given: Arrays, batch: int) -> dict[str, int]:
    """What the named axes were in these inputs."""
    sizes = {spec.BATCH: batch} if made.max_batch_size else {}
    for name, declared in made.inputs.items():
        named = zip(declared.shape, given[name].shape, strict=True)
        sizes |= {axis: size for axis, size in named if isinstance(axis, str)}
    return sizes


def _check_answer(made: build.Build, name: str, answer: npt.NDArray[Any], sizes: Mapping[str, int]) -> None:
    """The declared type and shape, and finite. Raises errors.PipelineError."""
    declared = made.outputs[name]
    wanted = [sizes.get(size, size) if isinstance(size, str) else size for size in declared.shape]
    same = len(wanted) == answer.ndim and all(
        isinstance(size, str) or size == got for size, got in zip(wanted, answer.shape, strict=True)
    )
    if not same or answer.dtype != goldens.NUMPY[declared.dtype]:
        got = f"{answer.dtype} {list(answer.shape)}"
        msg = f"output {name} is declared {declared.dtype} {wanted}, and the model gives {got}"
        raise errors.PipelineError(msg, hint=f"Correct outputs.{name}, or choose another result.")
    if declared.finite and answer.dtype.kind == "f" and not np.isfinite(answer).all():
        msg = f"output {name} of the model itself has NaN or infinity"
        raise errors.PipelineError(msg, hint=f"Correct the model, or set outputs.{name}.finite: false.")


def _check_batches(made: build.Build, artifact: Runner, cases: Cases) -> list[str]:
    """The artifact agrees at every golden batch. Raises errors.PipelineError naming the batch axis or the values."""
    told = {batch: _difference(made, artifact, given, answers) for batch, (given, answers) in cases.items()}
    bad = {batch: difference for batch, difference in told.items() if isinstance(difference, str)}
    good = [batch for batch in told if batch not in bad]
    if bad and good and made.max_batch_size:
        raise _baked(spec.BATCH, good, bad)
    for batch, difference in bad.items():
        msg = f"the artifact does not answer as the eager model does at batch {batch}: {difference}"
        raise errors.PipelineError(msg, hint="Change the model so that it can be exported, or use the other method.")
    return [f"batch {batch}: max abs error {error:.1e}" for batch, error in told.items()]


def _losses(made: build.Build, artifact: Runner, cases: Cases) -> list[str]:
    """What a lower precision costs, over all goldens."""
    if made.export is None or made.export.precision == "fp32":
        return []
    answers = [(expected, artifact(given)) for given, expected in cases.values()]
    found = [
        compare.loss(name, [expected[name] for expected, _ in answers], [got[name] for _, got in answers])
        for name in made.outputs
    ]
    return [str(each) for each in found if each is not None]


def _check_axes(made: build.Build, reference: Runner, artifact: Runner, tokenizer: Path) -> list[str]:
    """The artifact agrees at both bounds of every named axis, at batch 1. Raises errors.PipelineError."""
    checks = []
    for axis in goldens.axes(made):
        if axis not in made.axes:
            continue
        bad, good = {}, []
        for size in sorted({made.axes[axis].min, made.axes[axis].max}):
            given = goldens.inputs(made, 1, sizes={axis: size}, tokenizer=tokenizer)
            answers = _asked(reference, given, f"the model itself cannot take `{axis}` of {size}")
            difference = _difference(made, artifact, given, answers)
            if isinstance(difference, str):
                bad[size] = difference
            else:
                good.append(size)
                checks.append(f"{axis} {size}: max abs error {difference:.1e}")
        if bad:
            raise _baked(axis, good, bad)
    return checks


def _baked(axis: str, good: list[int], bad: Mapping[int, str]) -> errors.PipelineError:
    sizes = ", ".join(map(str, bad))
    works = f"it agrees at {', '.join(map(str, good))}, and " if good else ""
    msg = f"the export has baked in a size of axis `{axis}`: {works}at {sizes} it does not"
    hint = f"Take sizes from tensors in the model's code (x.shape), or declare a fixed size in place of `{axis}`."
    return errors.PipelineError(msg, hint=hint, details=[f"{axis} {size}: {problem}" for size, problem in bad.items()])


def _difference(made: build.Build, artifact: Runner, given: Arrays, answers: Arrays) -> str | float:
    """The largest absolute error where all is within tolerance, else what is wrong in words."""
    try:
        got = artifact(given)
    except errors.PipelineError as error:
        return error.message
    except RuntimeError as error:
        return ([line for line in str(error).splitlines() if line.strip()] or ["RuntimeError"])[-1].strip()
    found = compare.answers(answers, got, spec.judged(made.outputs, made.export), made.golden.tolerance)
    if found:
        return _words(found[0])
    numbers = [name for name, answer in answers.items() if answer.dtype != object]
    wide = ((answers[name].astype(np.float64), got[name].astype(np.float64)) for name in numbers)
    return max((float(np.nanmax(np.abs(a - b), initial=0.0)) for a, b in wide), default=0.0)


def _words(mismatch: findings.Mismatch) -> str:
    place = f"{list(mismatch.index)}" if mismatch.index else ""
    size = "" if mismatch.max_abs is None else f" (max abs error {mismatch.max_abs:.3g})"
    told = f"{mismatch.reason} of {mismatch.output}{place}"
    return f"{told}: expected {mismatch.expected}, got {mismatch.got}{size}"


def _file(path: Path) -> build.File:
    with path.open("rb") as stream:
        return build.File(sha256=hashlib.file_digest(stream, "sha256").hexdigest(), size=path.stat().st_size)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
