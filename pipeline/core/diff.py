"""Differences between the desired and the observed state, one `Change` each. It judges nothing and orders nothing."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

import msgspec

from pipeline.core import config, state

_CONFIG = "config.pbtxt"


class Kind(enum.StrEnum):
    """What differs, and so what it takes: an export, a copy into the store, a line in the lock, a file swap, a model
    load or a server."""

    BUILD = "build"
    COPY = "copy"
    LOCK = "lock"
    REPOSITORY = "repository"
    LOAD = "load"
    SERVER = "server"


BEFORE = frozenset({Kind.BUILD, Kind.COPY, Kind.LOCK})
"""What is done before anything is deployed."""


class Act(enum.StrEnum):
    """The field's known signs: add, change, remove, replace."""

    ADD = "+"
    CHANGE = "~"
    REMOVE = "-"
    REPLACE = "-/+"


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field that differs. None stands for absent."""

    path: str
    old: Any = None
    new: Any = None


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One difference. `subject` is a model, or `model/version`, or a runtime; `drift` marks what was changed outside
    the pipeline."""

    kind: Kind
    act: Act
    subject: str
    fields: tuple[Field, ...] = ()
    drift: bool = False


def changes(desired: state.State, observed: state.State) -> tuple[Change, ...]:
    """Every difference, builds first, then lock, repository and server, each sorted by subject.

    What is wanted and was applied already, and is otherwise now, is drift: it was changed outside the pipeline.
    """
    models = tuple(_models(desired, observed))
    return (
        *_builds(desired, observed),
        *_locked(desired, observed),
        *models,
        *_server(desired, observed, {change.subject: change for change in models}),
    )


def _builds(desired: state.State, observed: state.State) -> Iterator[Change]:
    seen: set[str] = set()
    for subject, key in sorted(desired.locked.items()):
        if key not in observed.store and key not in seen:
            seen.add(key)
            again = observed.locked.get(subject) == key
            kind = Kind.COPY if key in desired.copied else Kind.BUILD
            yield Change(kind=kind, act=Act.ADD, subject=subject, drift=again)


def _locked(desired: state.State, observed: state.State) -> Iterator[Change]:
    for subject in sorted(desired.locked.keys() | observed.locked.keys()):
        new, old = desired.locked.get(subject), observed.locked.get(subject)
        if new == old:
            continue
        act = Act.ADD if old is None else Act.REMOVE if new is None else Act.CHANGE
        yield Change(kind=Kind.LOCK, act=act, subject=subject, fields=(Field(path="key", old=old, new=new),))


def _models(desired: state.State, observed: state.State) -> Iterator[Change]:
    for name in sorted(desired.models.keys() | observed.models.keys()):
        new, old = desired.models.get(name), observed.models.get(name)
        if new is None:
            yield Change(kind=Kind.REPOSITORY, act=Act.REMOVE, subject=name)
            continue
        applied = new.digest is not None and observed.applied.get(name) == new.digest
        if old is None:
            yield Change(kind=Kind.REPOSITORY, act=Act.ADD, subject=name, drift=applied)
        elif new.digest is None:
            fields = tuple(_config(new.config, old.config))
            yield Change(kind=Kind.REPOSITORY, act=Act.CHANGE, subject=name, fields=fields)
        elif new.files != old.files:
            # Our own digest over other bytes: nobody but the pipeline writes that digest, so the bytes were changed.
            drift = applied or new.digest == old.digest
            fields = tuple(_files(new, old))
            yield Change(kind=Kind.REPOSITORY, act=Act.CHANGE, subject=name, fields=fields, drift=drift)


def _files(new: state.Model, old: state.Model) -> Iterator[Field]:
    for path in sorted(new.files.keys() | old.files.keys()):
        if new.files.get(path) == old.files.get(path):
            continue
        inner = tuple(_config(new.config, old.config)) if path == _CONFIG else ()
        yield from inner or (Field(path=path, old=old.files.get(path), new=new.files.get(path)),)


def _config(new: dict[str, Any] | None, old: dict[str, Any] | None) -> Iterator[Field]:
    """Each field in which two configs differ, but for the digest, which follows from the rest."""
    if new is None or old is None:
        return
    for path, wanted, got in config.differences(new, old):
        if not path.startswith(f"parameters.{config.DIGEST}"):
            yield Field(path=f"{_CONFIG}: {path}", old=got, new=wanted)


def _server(desired: state.State, observed: state.State, swapped: dict[str, Change]) -> Iterator[Change]:
    new, old = desired.server, observed.server
    if new is None:
        if old is not None:
            yield Change(kind=Kind.SERVER, act=Act.REMOVE, subject=old.runtime)
        return
    if old is None:
        lost = (Field(path="process", old=observed.lost, new="runs"),) if observed.lost else ()
        yield Change(kind=Kind.SERVER, act=Act.ADD, subject=new.runtime, fields=lost, drift=bool(lost))
        return
    if not old.fingerprint:
        mute = (Field(path="process", old="runs and does not answer", new="answers"),)
        yield Change(kind=Kind.SERVER, act=Act.REPLACE, subject=new.runtime, fields=mute, drift=True)
        return
    moved = [Field(path="runtime", old=old.runtime, new=new.runtime)] if old.runtime != new.runtime else []
    fields = (*moved, *(Field(path=name, old=is_, new=should) for name, (is_, should) in old.differs.items()))
    if fields or old.fingerprint != new.fingerprint:
        drift = old.fingerprint == new.fingerprint
        yield Change(kind=Kind.SERVER, act=Act.REPLACE, subject=new.runtime, fields=fields, drift=drift)
        return
    stuck = [each for each in old.failed if not _served(new, each)]
    if stuck:
        why = f"the load of {stuck[0]} failed" if stuck[0] else "a load failed"
        unready = Field(path="readiness", old=why, new="ready")
        yield Change(kind=Kind.SERVER, act=Act.REPLACE, subject=new.runtime, fields=(unready,), drift=True)
        return
    for name in sorted(new.models.keys() | old.models.keys()):
        yield from _live(name, desired, observed, swapped.get(name))


def _served(wanted: state.Server, version: str) -> bool:
    """Whether this `model/version` is loaded anyhow: a good load of the same number clears a failed one."""
    name, _, number = version.rpartition("/")
    return name in wanted.models and number in map(str, wanted.models[name].versions)


def _live(name: str, desired: state.State, observed: state.State, swapped: Change | None) -> Iterator[Change]:
    """What a load mends: `swapped` is the change of the model's folder that will be made before."""
    server = observed.server
    new = desired.server.models.get(name) if desired.server else None
    old = server.models.get(name) if server else None
    ours = server is not None and name in server.loaded
    if new is None:
        yield Change(kind=Kind.LOAD, act=Act.REMOVE, subject=name, drift=not ours and bool(observed.applied))
        return
    applied = new.digest is not None and observed.applied.get(name) == new.digest
    if old is None:
        # It was loaded by the pipeline, and was unloaded by somebody else.
        gone = (Field(path="state", old="not ready", new="ready"),) if ours else ()
        drift = ours and (applied or swapped is None)
        yield Change(kind=Kind.LOAD, act=Act.ADD, subject=name, fields=gone, drift=drift)
        return
    fields = tuple(_differences(new, old, desired.models.get(name), observed.models.get(name)))
    if fields or swapped is not None:
        drift = applied or new.digest == old.digest
        yield Change(kind=Kind.LOAD, act=Act.CHANGE, subject=name, fields=fields, drift=drift)


def _differences(
    new: state.Live, old: state.Live, wanted: state.Model | None, there: state.Model | None
) -> Iterator[Field]:
    if new.digest != old.digest:
        known = wanted is not None and wanted.digest is not None
        yield Field(path="digest", old=old.digest, new=new.digest if known else None)
    if new.versions != old.versions:
        yield Field(path="versions", old=list(old.versions), new=list(new.versions))
    if new.digest == old.digest and wanted is not None:
        yield from _config(wanted.config, old.config)
    if old.fault:
        yield Field(path="process", old=old.fault, new="runs")
    if there is not None and old.folder is not None and there.folder != old.folder:
        yield Field(path="files", old="replaced after the load", new="loaded")
