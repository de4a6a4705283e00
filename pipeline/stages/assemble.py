"""Assemble: brings model_repository/ to the desired state, a model at a time, each swapped in whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pipeline import edges
from pipeline.core import diff, errors, findings, layout, state
from pipeline.edges import digests, repository, store


class Swaps:
    """What an assembly put in and took out: to be undone, or kept for good."""

    def __init__(self) -> None:
        self.models: list[str] = []
        self._done: list[repository.Swap] = []

    def add(self, name: str, swap: repository.Swap) -> None:
        """One model was swapped."""
        self.models.append(name)
        self._done.append(swap)

    def undo(self) -> None:
        """The folders that stood before stand again."""
        while self._done:
            repository.undo(self._done.pop())

    def keep(self) -> None:
        """The folders that stood before are removed."""
        while self._done:
            repository.forget(self._done.pop())


def assemble(  # noqa: PLR0913 - what to change, and where the files lie
    project: edges.Project,
    desired: Mapping[str, state.Model],
    changes: Iterable[diff.Change],
    *,
    stored: store.Store,
    known: digests.Digests,
    say: edges.Say,
) -> Swaps:
    """Makes the changes of the repository; the caller keeps or undoes them.

    Raises PipelineError where something is not built yet, Unverified where a store entry is damaged (it is moved to
    quarantine); everything stands as before then.
    """
    swaps = Swaps()
    put = installer(project.repository, stored=stored, known=known)
    try:
        for change in changes:
            if change.kind is not diff.Kind.REPOSITORY:
                continue
            name = change.subject
            if change.act is diff.Act.REMOVE:
                say(f"removing {name}")
                swaps.add(name, repository.remove(project.repository, name))
            else:
                say(f"assembling {name}")
                swaps.add(name, put(desired[name]))
    except BaseException:
        swaps.undo()
        raise
    return swaps


def installer(folder: Path, *, stored: store.Store, known: digests.Digests) -> Callable[[state.Model], repository.Swap]:
    """A function that makes one model's folder in the repository `folder` what it should be."""

    def put(model: state.Model) -> repository.Swap:
        if model.digest is None:
            msg = f"the artifacts of {model.name} are not built and locked"
            raise errors.PipelineError(msg, hint="Run `export` first.")
        _check(model, stored)
        entries: dict[int | None, Path] = {number: stored.path(key) for number, key in model.entries.items()}
        if model.beside is not None:
            entries[None] = stored.path(model.beside)
        return repository.install(folder, model, layout.texts(model.config or {}), entries.__getitem__, known)

    return put


def _check(model: state.Model, stored: store.Store) -> None:
    """Every byte that will be copied is read and compared with the store's manifest first."""
    found: list[findings.Finding] = []
    for key in (*model.entries.values(), *([model.beside] if model.beside else [])):
        found += stored.check(key)
    if found:
        msg = f"the store's files of {model.name} are damaged"
        raise errors.Unverified(msg, hint="Run `export`: it builds them again.", found=found)
