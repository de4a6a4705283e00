"""Differences between the desired and the observed state, one `Change` each. It judges nothing and orders nothing."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

import msgspec

from pipeline.core import state


class Kind(enum.StrEnum):
    """What differs, and so what it takes: an export, a line in the lock, a file swap, a model load or a server."""

    BUILD = "build"
    LOCK = "lock"
    REPOSITORY = "repository"
    LOAD = "load"
    SERVER = "server"


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
    """Every difference, builds first, then lock, repository and server, each sorted by subject."""
    return (
        *_builds(desired, observed),
        *_locked(desired, observed),
        *_models(desired, observed),
        *_server(desired.server, observed.server, desired),
    )


def _builds(desired: state.State, observed: state.State) -> Iterator[Change]:
    seen: set[str] = set()
    for subject, key in sorted(desired.locked.items()):
        if key not in observed.store and key not in seen:
            seen.add(key)
            again = observed.locked.get(subject) == key
            yield Change(kind=Kind.BUILD, act=Act.ADD, subject=subject, drift=again)


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
        elif old is None:
            yield Change(kind=Kind.REPOSITORY, act=Act.ADD, subject=name)
        elif new.digest is None:
            yield Change(kind=Kind.REPOSITORY, act=Act.CHANGE, subject=name)
        elif new.files != old.files:
            # Our own digest over other bytes: nobody but the pipeline writes that digest, so the bytes were changed.
            drift = new.digest == old.digest
            yield Change(
                kind=Kind.REPOSITORY, act=Act.CHANGE, subject=name, fields=tuple(_files(new, old)), drift=drift
            )


def _files(new: state.Model, old: state.Model) -> Iterator[Field]:
    for path in sorted(new.files.keys() | old.files.keys()):
        if new.files.get(path) != old.files.get(path):
            yield Field(path=path, old=old.files.get(path), new=new.files.get(path))


def _server(new: state.Server | None, old: state.Server | None, desired: state.State) -> Iterator[Change]:
    if new is None:
        if old is not None:
            yield Change(kind=Kind.SERVER, act=Act.REMOVE, subject=old.runtime)
        return
    if old is None:
        yield Change(kind=Kind.SERVER, act=Act.ADD, subject=new.runtime)
        return
    if (old.runtime, old.fingerprint) != (new.runtime, new.fingerprint):
        yield Change(kind=Kind.SERVER, act=Act.REPLACE, subject=new.runtime)
        return
    for name in sorted(new.models.keys() | old.models.keys()):
        yield from _live(name, new.models.get(name), old.models.get(name), desired.models.get(name))


def _live(name: str, new: state.Live | None, old: state.Live | None, model: state.Model | None) -> Iterator[Change]:
    if new is None:
        yield Change(kind=Kind.LOAD, act=Act.REMOVE, subject=name)
    elif old is None:
        yield Change(kind=Kind.LOAD, act=Act.ADD, subject=name)
    elif new != old:
        known = model is not None and model.digest is not None
        fields = []
        if new.digest != old.digest:
            fields.append(Field(path="digest", old=old.digest, new=new.digest if known else None))
        if new.versions != old.versions:
            fields.append(Field(path="versions", old=list(old.versions), new=list(new.versions)))
        drift = new.digest == old.digest
        yield Change(kind=Kind.LOAD, act=Act.CHANGE, subject=name, fields=tuple(fields), drift=drift)
