"""The shared cache of a run: which one, whether it may be written, what is taken from it, and what it is given."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pipeline.core import build, errors, layout, lock
from pipeline.edges import caches
from pipeline.reconcile.site import Site
from pipeline.stages import share as sharing


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for: the address of a cache, by default the environment's, and whether it is written too."""

    address: str | None = None
    push: bool = False


def take(site: Site, missing: Mapping[str, build.Build], shared: Shared) -> sharing.Taken:
    """Brings what the cache has of the missing builds into the store.

    Raises PipelineError for an address that cannot be one, and where a cache is to be written and none is named.
    """
    cache = caches.find(shared.address)
    if cache is None and shared.push:
        msg = "--push was said, and no cache is named"
        raise errors.PipelineError(msg, hint=f"Name it: --cache URL, or {caches.VARIABLE} in the environment.")
    if cache is None or not missing:
        return sharing.Taken()
    return sharing.take(missing, lock.pinned(site.locked), cache=cache, stored=site.stored, say=site.say)


def is_named(shared: Shared) -> bool:
    """Whether there is a cache at all."""
    return caches.find(shared.address) is not None


def give(site: Site, made: Mapping[layout.At, build.Build], shared: Shared, broken: frozenset[str]) -> None:
    """Gives the cache the builds of the chosen models that it lacks, where that was said."""
    cache = caches.find(shared.address) if shared.push else None
    if cache is not None:
        keys = {build.key(each) for at, each in made.items() if at[0] in site.chosen and not build.is_copied(each)}
        sharing.give(keys, broken=broken, cache=cache, stored=site.stored, say=site.say)
