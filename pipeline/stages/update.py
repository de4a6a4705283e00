"""Update: asks pip and the hub what is newer than the spec's wheels and commits, and tells what cannot be taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from pipeline import edges
from pipeline.core import errors, findings, tree, updates
from pipeline.edges import sources
from pipeline.edges.sources import hub, request, wheel


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What is newer and fits, and what was left as it is."""

    updates: tuple[updates.Update, ...] = ()
    left: tuple[findings.Finding, ...] = ()


def wheels(known: Iterable[updates.Wheel], *, say: edges.Say) -> Found:
    """The newest wheels, as pip and its configuration find them."""
    return _asked({each.path: _wheel(each) for each in known}, say)


def commits(known: Iterable[updates.Commit], *, say: edges.Say) -> Found:
    """The newest commits of the branches that are followed, as the hub has them."""
    return _asked({each.path: _commit(each) for each in known}, say)


def branches(known: Iterable[tuple[updates.Commit, str]], *, say: edges.Say) -> Found:
    """The branches that are not where the lock pins them any more."""
    left = []
    for old, pinned in known:
        say(f"asking for what is newer than {tree.dotted(old.path)}")
        try:
            told = updates.moved(old, pinned, hub.newest(old.source, old.branch))
        except errors.PipelineError as error:
            told = _left(old.path, error)
        left += [told] if told is not None else []
    return Found(left=tuple(left))


def fitting(
    known: Iterable[updates.Wheel], found: Iterable[updates.Update], project: edges.Project, say: edges.Say
) -> Found:
    """Those of the updates whose wheels, which are fetched for that, have the model where the spec says; the others are
    told. What is no wheel stays."""
    old = {tree.dotted(each.path): each for each in known}
    good, left = [], []
    for each in found:
        there = old.get(each.path)
        if there is None:
            good.append(each)
            continue
        source = msgspec.structs.replace(there.source, **updates.fields(each))
        asked = request.Request(root=project.root, cache=project.sources, locked=None, online=True, digest_file=str)
        try:
            sources.fetch(wheel.resolve(source, asked), root=project.root, cache=project.sources, say=say)
        except errors.PipelineError as error:
            left.append(_left(there.path, error))
        else:
            good.append(each)
    return Found(updates=tuple(good), left=tuple(left))


def _wheel(old: updates.Wheel) -> Callable[[], updates.Update | None]:
    return lambda: updates.of_wheel(old, *wheel.newest(old.source))


def _commit(old: updates.Commit) -> Callable[[], updates.Update | None]:
    return lambda: updates.of_commit(old, hub.newest(old.source, old.branch))


def _asked(asks: dict[tree.Path, Callable[[], updates.Update | None]], say: edges.Say) -> Found:
    """Each for itself: one that cannot be asked, or does not fit, is told, and keeps no other from being updated."""
    found, left = [], []
    for path, ask in asks.items():
        say(f"asking for what is newer than {tree.dotted(path)}")
        try:
            newer = ask()
        except errors.PipelineError as error:
            left.append(_left(path, error))
            continue
        if newer is not None:
            found.append(newer)
    return Found(updates=tuple(found), left=tuple(left))


def _left(path: tree.Path, error: errors.PipelineError) -> findings.Finding:
    message = " ".join((f"{tree.dotted(path)} stays as it is: {error.message}", *error.details[-1:]))
    return findings.Finding(
        rule="not-updated",
        message=message,
        hint=error.hint,
        severity=findings.Severity.WARNING,
        model=str(path[1]),
    )
