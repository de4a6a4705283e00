"""The export process seen from its parent: how it is called, what it is given, and what it leaves.

The parent writes JOB into a fresh folder, runs `command(python) + [job, folder]` with `environment()` over a scrubbed
environment, and reads the folder with `read`. The process leaves the artifact, `golden.safetensors` and, last of all,
RESULT: a Result, or one with the failure that stopped it. What it was not able to tell stands in its last lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

import pipeline
from pipeline.core import build, errors

JOB = "job.json"
RESULT = "result.json"
GOLDEN = "golden.safetensors"

# The package is found by its own place alone: the folder it lies in may hold another environment's libraries.
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); import pipeline; del sys.path[0]; "
    "from pipeline.stages import build; sys.exit(build.main(sys.argv[2:]))"
)

# How Python, torch's archive writer and safetensors say that a write failed.
_DISK_FULL = ("No space left on device", "iostream error", "PytorchStreamWriter failed", "ENOSPC")
_HINTS = {
    "time": "Give it more by export.timeout, or make the model export in less.",
    "memory": "Give it more by export.memory, on a machine that has it, or make the model need less.",
    "disk": "Give it more by export.disk, on a disk that has it, or make the model write less.",
    "processes": "The model's code starts process after process, or thread after thread.",
}
_SHUT_IN = {
    ("Network is unreachable", "name resolution", "Name or service not known"): "An export has no network: what it "
    "needs is named as its source, or in source.factory.files.",
    ("Read-only file system",): "An export can write only into the folder that HOME and TMPDIR name.",
}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to build, and where its bytes lie: the spec's folder, the fetched source, and the tokenizer's folder. An
    ensemble has `steps`, the jobs of the models that it runs, in the order of its build's."""

    build: build.Build
    root: str
    source: str | None = None
    tokenizer: str | None = None
    steps: tuple[Job, ...] = ()


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an export stopped. `unverified` where something did not match its digest, `unfit` where the machine lacks
    something."""

    message: str
    hint: str = ""
    details: tuple[str, ...] = ()
    unverified: bool = False
    unfit: bool = False


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an export left, as build.Built has it without the key; or `failure`, and then nothing else counts. `able`
    is what the process could do all the same, since nothing here can forbid it."""

    files: dict[str, build.File] = {}
    golden: str = ""
    reproducible: bool = True
    checks: tuple[str, ...] = ()
    able: tuple[str, ...] = ()
    failure: Failure | None = None


def command(python: Path) -> list[str]:
    """The words that start the export process; the paths of the job file and of the output folder follow."""
    home = Path(pipeline.__file__).resolve().parent.parent
    return [str(python), "-P", "-c", _BOOT, str(home)]


def environment() -> dict[str, str]:
    """Variables that make the numbers the same on every machine, and keep the process off the network.

    One thread, and no vector instructions beyond AVX2, since the order of additions depends on both; of MKL's modes
    COMPATIBLE is the one that its manual promises on the processors of every maker. ATEN_CPU_CAPABILITY is torch's
    own, ONEDNN_MAX_CPU_ISA oneDNN's; TF_... are TensorFlow's. No GPU: goldens are the CPU's.
    """
    return {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "COMPATIBLE",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_DETERMINISTIC_OPS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "PYTHONWARNINGS": "ignore",
    }


def read(  # noqa: PLR0913 - each is a part of how it ended
    folder: Path, *, what: str, code: int, reason: str, tail: Sequence[str], hit: str = ""
) -> Result:
    """What the process left in `folder`. `what` names the build (`bert version 1`), the rest tells how it ended; `hit`
    is the limit that it was killed for.

    Raises errors.PipelineError (errors.Unverified for a digest) with its failure, or with its end and last lines.
    """
    failed = f"the export of {what} failed"
    try:
        result = msgspec.json.decode((folder / RESULT).read_bytes(), type=Result)
    except (OSError, msgspec.DecodeError):
        result = None
    if result is not None and result.failure is not None and not hit:
        told = result.failure
        kind = errors.Unverified if told.unverified else errors.Unfit if told.unfit else errors.PipelineError
        msg = f"{failed}: {told.message}"
        raise kind(msg, hint=_shut_in([told.message, *told.details]) or told.hint, details=told.details)
    if code != 0 and not hit and any(sign in line for line in tail for sign in _DISK_FULL):
        msg = f"{failed}: the disk took no more"
        raise errors.PipelineError(msg, hint="Make room on the disk of .pipeline/ and run the command again.")
    if code != 0:
        msg = f"{failed}: its process {reason}"
        hint = _HINTS.get(hit) or _shut_in(tail) or "Its last lines are below; the model's source is at fault."
        raise errors.PipelineError(msg, hint=hint, details=tail)
    if result is None or not _is_whole(folder, result):
        msg = f"{failed}: its process {reason}, but left no whole artifact"
        raise errors.PipelineError(msg, hint="The model's code ended the process by itself.", details=tail)
    return result


def _shut_in(lines: Sequence[str]) -> str:
    """What to say of lines that tell of something that an export is kept from; nothing for other lines."""
    told = (hint for signs, hint in _SHUT_IN.items() if any(sign in line for line in lines for sign in signs))
    return next(told, "")


def _is_whole(folder: Path, result: Result) -> bool:
    """True when every file that the result names is there in its size, and the golden; an ensemble has that alone."""
    there = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    named = {name: file.size for name, file in result.files.items()}
    return bool(result.golden) and named.items() <= there.items() and GOLDEN in there
