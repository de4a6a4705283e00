"""Share: takes builds from a shared cache into the store, checked byte by byte, and gives it those that it lacks.

A cache that fails or lies costs time, never more: each fault is told in one line, and after a few of them the rest of
the run goes on without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from pipeline import edges
from pipeline.core import action, build, errors, lock
from pipeline.edges import caches, digests, files, store

FAULTS = 3
"""So many faults in one run, and the cache is asked no more."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: the keys that are in the store now, and those whose entries in the cache are broken."""

    keys: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()


def take(
    missing: Mapping[str, build.Build],
    pinned: Mapping[str, lock.Version],
    *,
    cache: caches.Cache,
    stored: store.Store,
    say: edges.Say,
) -> Taken:
    """Brings what the cache has of the missing builds into the store. `pinned` are the lock's versions by key: where it
    knows a build, the cache's must have its bytes."""
    taken, broken = set(), set()
    for key, made in missing.items():
        what = f"{made.model} version {made.version}"
        try:
            size = _bring(key, pinned.get(key), cache, stored)
        except action.Fault as fault:
            broken.add(key)
            say(f"{what} is not taken from the cache {cache.where}: {fault.message}")
            if len(broken) == FAULTS:
                say(f"the cache is not asked any more in this run: {FAULTS} faults")
                break
            continue
        if size is not None:
            taken.add(key)
            trust = "" if key in pinned else ", which the lock does not know yet"
            say(f"took {what} from the cache ({size / 1e6:.1f} MB){trust}")
    return Taken(keys=frozenset(taken), broken=frozenset(broken))


def _bring(key: str, pinned: lock.Version | None, cache: caches.Cache, stored: store.Store) -> int | None:
    """How many bytes came; None where the cache has no such build. Raises action.Fault."""
    data = caches.read(cache, action.record(key), action.LIMIT)
    if data is None:
        return None
    parts = action.parse(data)
    about = parts.pop(action.MANIFEST)
    if about.size > action.LIMIT:
        msg = f"its manifest has {about.size} bytes"
        raise action.Fault(msg)
    built = action.manifest(caches.blob(cache, about))
    action.check(key, built, parts, pinned)
    with stored.stage() as aside:
        for name, file in parts.items():
            caches.fetch(cache, file, aside / name)
        stored.publish(key, aside, built)
    return sum(file.size for file in parts.values())


def give(
    keys: Iterable[str], *, broken: frozenset[str], cache: caches.Cache, stored: store.Store, say: edges.Say
) -> int:
    """Gives the cache the builds that it lacks; how many. Blobs of `broken` ones are given again.

    The record comes last: who reads it finds all that it names. Raises Unverified where the store itself is damaged.
    """
    given, faults = 0, 0
    for key in sorted(keys):
        if damage := stored.check(key):
            msg = f"the store's entry {key} is damaged, and is given to nobody"
            raise errors.Unverified(msg, hint="Run the command again: it is built anew.", found=damage)
        try:
            given += _give(key, cache, stored, again=key in broken)
        except action.Fault as fault:
            faults += 1
            say(f"{key[:12]} is not given to the cache {cache.where}: {fault.message}")
            if faults == FAULTS:
                say(f"the cache is given no more in this run: {FAULTS} faults")
                break
    if given:
        say(f"gave {given} builds to the cache {cache.where}")
    return given


def _give(key: str, cache: caches.Cache, stored: store.Store, *, again: bool) -> bool:
    """Whether anything had to be given. Raises action.Fault."""
    folder, built = stored.path(key), stored.get(key)
    assert built is not None  # noqa: S101 - it was checked just now
    parts = {**built.files, **{name: _file(folder / name) for name in (store.GOLDEN, store.MANIFEST)}}
    if not again and _has(key, parts, cache, reproducible=built.reproducible):
        return False
    for name, file in parts.items():
        place = action.blob(file.sha256)
        if again or cache.size(place) != file.size:
            cache.put(place, folder / name)
    cache.put(action.record(key), action.dump(parts))
    return True


def _has(key: str, parts: Mapping[str, build.File], cache: caches.Cache, *, reproducible: bool) -> bool:
    """Whether the cache has this build's record: the same, or, where each build has other bytes, any."""
    data = caches.read(cache, action.record(key), action.LIMIT)
    try:
        known = None if data is None else action.parse(data)
    except action.Fault:
        return False
    if known is None or not reproducible:
        return known is not None
    # Manifests of one build may differ in their words: what was compared, by whose version of the pipeline.
    return {**known, store.MANIFEST: None} == {**parts, store.MANIFEST: None}


def _file(path: Path) -> build.File:
    with files.guard("read", path):
        return build.File(sha256=digests.take(path), size=path.stat().st_size)
