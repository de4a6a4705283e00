"""Export: builds what the store lacks, each artifact in a process of its own that is limited and shut in, and publishes
it whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from pipeline import edges
from pipeline.core import allowance, build, errors
from pipeline.edges import exporters, files, process, sources, store

_ADOPTING = 900.0  # seconds for a `file` source, which has no export to carry a limit


def export(
    missing: Mapping[str, build.Build], *, project: edges.Project, stored: store.Store, python: Path, say: edges.Say
) -> None:
    """Builds every missing key. `python` is the interpreter of the torch environment.

    A build that fails leaves nothing behind and does not keep the others from being built. Raises PipelineError
    with every failure at the end.
    """
    failures: list[errors.PipelineError] = []
    able: set[str] = set()
    for key, made in missing.items():
        what = f"{made.model} version {made.version}"
        say(f"exporting {what}")
        try:
            built, left = _build(key, made, project=project, stored=stored, python=python, say=say)
        except (errors.Busy, errors.Interrupted):
            raise
        except errors.PipelineError as error:
            failures.append(error)
            continue
        for line in built.checks:
            say(f"  {line}")
        if left and not able:
            say(f"nothing here keeps an export from what it must not do: it could {' and '.join(left)}")
        able |= set(left)
    if failures:
        raise _together(failures)


def _build(  # noqa: PLR0913 - each is a part of where and how
    key: str, made: build.Build, *, project: edges.Project, stored: store.Store, python: Path, say: edges.Say
) -> tuple[build.Built, tuple[str, ...]]:
    """Builds one artifact; also what its process could have done that it must not."""
    what = f"{made.model} version {made.version}"
    job = _job(made, project, say)
    with stored.stage() as aside:
        order, output = aside / exporters.JOB, aside / "output"
        files.make_folder(output)
        files.write(order, msgspec.json.encode(job))
        ended = process.run(
            [*exporters.command(python), str(order), str(output)],
            cwd=project.root,
            env=exporters.environment(),
            timeout=made.export.timeout if made.export else _ADOPTING,
            limits=allowance.of(made.export),
            folders=(output,),
        )
        result = exporters.read(output, what=what, code=ended.code, reason=ended.reason, tail=ended.tail, hit=ended.hit)
        (output / exporters.RESULT).unlink()
        built = build.Built(
            key=key,
            files=result.files,
            golden=result.golden,
            reproducible=result.reproducible,
            checks=result.checks,
        )
        stored.publish(key, output, built)
    return built, result.able


def _job(made: build.Build, project: edges.Project, say: edges.Say) -> exporters.Job:
    """What the process is told, with all bytes at hand."""
    return exporters.Job(
        build=made,
        root=str(project.root),
        source=None if made.steps else _fetched(made.source, project, say),
        tokenizer=_fetched(made.tokenizer, project, say) if made.tokenizer else None,
        steps=tuple(_job(step.build, project, say) for step in made.steps),
    )


def _fetched(source: build.Resolved, project: edges.Project, say: edges.Say) -> str | None:
    found = sources.fetch(source, root=project.root, cache=project.sources, say=say)
    return None if found is None else str(found)


def _together(failures: list[errors.PipelineError]) -> errors.PipelineError:
    """One failure as it is; several as one error with all their words."""
    if len(failures) == 1:
        return failures[0]
    kind = type(failures[0]) if len({type(each) for each in failures}) == 1 else errors.PipelineError
    lines = [
        line for each in failures for line in (each.message, *(f"  {detail}" for detail in each.details), each.hint)
    ]
    return kind(f"{len(failures)} exports failed", details=[line for line in lines if line])
