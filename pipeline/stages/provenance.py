"""Provenance: gathers what is known of a locked build, and puts the documents about it into words."""

from __future__ import annotations

from pathlib import Path

import pipeline
from pipeline import edges
from pipeline.core import bom, errors, lock, origins, platforms, spec, statement
from pipeline.edges import environments, files, sources, store


def gather(  # noqa: PLR0913 - what is known, and from where, each by its name
    project: edges.Project,
    declared: spec.Spec,
    locked: lock.Lock,
    *,
    stored: store.Store,
    builder: str | None,
    say: edges.Say,
) -> origins.Origins:
    """All that is known of the locked versions of a spec.

    Raises PipelineError where the store lacks one of them: what was measured of it is known there only.
    """
    versions = [
        (f"{name}/{number}", locked.models[name].versions[str(number)])
        for name, model in declared.models.items()
        for number in model.versions
    ]
    built = {each.key: stored.get(each.key) for _, each in versions}
    for at, each in versions:
        if built[each.key] is None:
            msg = f"the store has no artifact of {at}, and what was measured of it is known there only"
            raise errors.PipelineError(msg, hint="Run `export` first: it builds what is missing.")
    return origins.Origins(
        declared=declared,
        locked=locked,
        built={key: each for key, each in built.items() if each is not None},
        licences={
            at: sources.licence(each.source, root=project.root, cache=project.sources, say=say) for at, each in versions
        },
        packages={
            group: environments.pinned(project.root, group) for group in ("core", "torch", *platforms.groups(declared))
        },
        version=pipeline.__version__,
        **({"builder": builder} if builder else {}),
    )


def documents(known: origins.Origins) -> origins.Documents:
    """The documents about a build."""
    return origins.Documents(
        statement=origins.dump(statement.statement(known)),
        bom=origins.dump(bom.bom(known)),
        subjects=statement.checksums(known).encode(),
    )


def write(folder: Path, made: origins.Documents) -> None:
    """Puts the documents into a folder, which is made where there is none."""
    files.make_folder(folder)
    for name, text in made.files.items():
        files.write(folder / name, text)
