"""Assemble: brings model_repository/ to the desired state, a model at a time, each swapped in whole."""

from __future__ import annotations

from pipeline import edges
from pipeline.core import errors, findings, layout, spec, state
from pipeline.edges import digests, repository, store


def assemble(  # noqa: PLR0913 - both states, and where their files lie
    project: edges.Project,
    declared: spec.Spec,
    desired: state.State,
    observed: state.State,
    *,
    stored: store.Store,
    known: digests.Digests,
    say: edges.Say,
) -> tuple[str, ...]:
    """Installs what differs and removes models of ours that the spec no longer has; returns their names.

    Raises PipelineError where something is not built yet, Unverified where a store entry is damaged (it is moved to
    quarantine, and the old model stands).
    """
    done: list[str] = []
    for name, model in desired.models.items():
        if model.digest is None:
            msg = f"the artifacts of {name} are not built and locked"
            raise errors.PipelineError(msg, hint="Run `export` first.")
        there = observed.models.get(name)
        if there is not None and there.files == model.files:
            continue
        _check(model, stored)
        say(f"assembling {name}")
        text = layout.config_text(declared.models[name], model.digest)
        entries = {number: stored.path(key) for number, key in model.entries.items()}
        repository.install(project.repository, model, text, entries.__getitem__, known)
        done.append(name)
    gone = sorted(observed.models.keys() - desired.models.keys())
    if gone and not desired.models:
        msg = "the spec has no models: that would remove every model of the repository"
        raise errors.PipelineError(msg, hint=f"Remove {project.repository.name}/ yourself if that is meant.")
    for name in gone:
        say(f"removing {name}")
        repository.remove(project.repository, name)
    return (*done, *gone)


def _check(model: state.Model, stored: store.Store) -> None:
    """Every byte that will be copied is read and compared with the store's manifest first."""
    found: list[findings.Finding] = []
    for key in model.entries.values():
        found += stored.check(key)
    if found:
        msg = f"the store's files of {model.name} are damaged"
        raise errors.Unverified(msg, hint="Run `export`: it builds them again.", found=found)
