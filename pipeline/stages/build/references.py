"""Who answers the goldens: a source's eager model, a finished file itself, or the models of an ensemble's steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from pipeline.core import platforms
from pipeline.edges import exporters, sources

Arrays = dict[str, npt.NDArray[Any]]
Runner = Callable[[Arrays], Arrays]


def warm(job: exporters.Job) -> None:
    """Imports what the models' sources will need, before the process is shut in."""
    for each in job.steps:
        warm(each)
    if not job.steps:
        sources.warm(job.build.source, _folder(job))


def module(job: exporters.Job, method: exporters.Method) -> Any:  # noqa: ANN401 - what the method's exporter takes
    """The source as a method's exporter takes it."""
    if method.of_folder:
        return _folder(job)
    return sources.load(job.build.source, _folder(job), root=Path(job.root))


def finished(job: exporters.Job, folder: Path) -> Runner:
    """A finished file, copied into the folder: it is its own reference."""
    platform = platforms.of_file(str(job.build.source.identity["path"])) or platforms.TORCHSCRIPT
    shutil.copyfile(str(job.source), folder / platform.filename)
    return exporters.ADOPTED[platform.format].load(folder / platform.filename, job.build)


def chain(job: exporters.Job) -> Runner:
    """An ensemble: each step's reference gets what those before it gave."""
    runners = [_reference(each) for each in job.steps]

    def run(given: Arrays) -> Arrays:
        tensors = dict(given)
        for step, runner in zip(job.build.steps, runners, strict=True):
            answers = runner({inner: tensors[outer] for inner, outer in step.inputs.items()})
            tensors |= {outer: answers[inner] for inner, outer in step.outputs.items()}
        return {name: tensors[name] for name in job.build.outputs}

    return run


def _reference(job: exporters.Job) -> Runner:
    if job.steps:
        return chain(job)
    if job.build.export is None:
        platform = platforms.of_file(str(job.build.source.identity["path"])) or platforms.TORCHSCRIPT
        return exporters.ADOPTED[platform.format].load(Path(str(job.source)), job.build)
    method = exporters.METHODS[job.build.export.method]
    return method.eager(module(job, method), job.build)


def _folder(job: exporters.Job) -> Path | None:
    return Path(job.source) if job.source else None
