"""What changes files, and asks no server: exports, the lock, the repository, the store; and the server's end."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from pipeline.core import build, errors, layout, lock, plan, platforms
from pipeline.edges import environments
from pipeline.reconcile import goals, sharing
from pipeline.reconcile.site import Site
from pipeline.stages import assemble as assembling
from pipeline.stages import choose as choosing
from pipeline.stages import down as stopping
from pipeline.stages import export as exporting
from pipeline.stages import gather as gathering
from pipeline.stages import gc as collecting
from pipeline.stages import lock as locking
from pipeline.stages import observe as observing


def build_missing(
    site: Site, *, accept: bool, accept_image: bool = False, shared: sharing.Shared | None = None
) -> lock.Lock:
    """Builds what neither the store nor a cache has, and returns the lock that follows; the one on disk stands as it
    was."""
    site.step("fetch")
    made = goals.builds(site, online=True)
    there, shared = site.stored.keys(), shared or sharing.Shared()
    missing = _missing(site, made, there)
    exported = {key: each for key, each in missing.items() if not build.is_copied(each)}
    copied = {key: each for key, each in missing.items() if build.is_copied(each)}
    taken = sharing.take(site, exported, shared)
    exported = {key: each for key, each in exported.items() if key not in taken.keys}
    site.step("export")
    if exported:
        python = environments.interpreter(site.project.root)
        wanted = [at for at, each in made.items() if build.key(each) in exported]
        environments.check(python, [platforms.of(site.declared.models[name].versions[n]) for name, n in wanted])
        exporting.export(exported, project=site.project, stored=site.stored, python=python, say=site.say)
    gathering.versions(copied, project=site.project, stored=site.stored, say=site.say)
    beside = goals.besides(site, made)
    lying = {build.key_beside(each): each for name, each in beside.items() if name in site.chosen}
    lying = {key: each for key, each in lying.items() if key not in there}
    gathering.besides(lying, project=site.project, stored=site.stored, say=site.say)
    known = lock.image(site.locked, site.declared.target.image)
    choice = choosing.choose(site.project, site.declared.target, known)
    new = locking.propose(
        site.declared,
        made,
        site.locked,
        stored=site.stored,
        image=choosing.pin(choice, known, accept=accept_image, say=site.say),
        accept=accept,
        kept=site.kept,
        beside=beside,
    )
    sharing.give(site, made, shared, taken.broken)
    return new


def _missing(site: Site, made: Mapping[layout.At, build.Build], there: frozenset[str]) -> dict[str, build.Build]:
    """The builds of the chosen models that the store has not."""
    wanted = {build.key(each): each for (name, _), each in made.items() if name in site.chosen}
    return {key: each for key, each in wanted.items() if key not in there}


def take(site: Site, shared: sharing.Shared) -> None:
    """Brings into the store what a cache has of the chosen models: nothing is built, and the lock stands as it was."""
    missing = _missing(site, goals.builds(site), site.stored.keys())
    sharing.take(site, {key: each for key, each in missing.items() if not build.is_copied(each)}, shared)


def export(site: Site, *, accept: bool, accept_image: bool = False, shared: sharing.Shared | None = None) -> None:
    """Builds what is missing, and locks it."""
    new = build_missing(site, accept=accept, accept_image=accept_image, shared=shared)
    site.step("commit")
    locking.write(site.project, new)


def assemble(site: Site, *, remove_all: bool = False) -> tuple[str, ...]:
    """Brings the repository to the lock; the names of the models that were touched."""
    wanted = goals.goal(site)
    changes, _ = goals.compare(site, wanted)
    plan.check_removals(changes, wanted.state, allowed=remove_all)
    site.step("assemble")
    swaps = assembling.assemble(
        site.project,
        wanted.state.models,
        changes,
        stored=site.stored,
        known=site.known,
        say=site.say,
    )
    swaps.keep()
    return tuple(swaps.models)


def down(site: Site) -> bool:
    """Stops the server; whether one ran."""
    return stopping.down(site.project, say=site.say)


def gc(site: Site) -> tuple[str, ...]:
    """Removes store entries that neither the lock nor a release that is kept names; what went."""
    keep = {key for model in _models(site.locked) for key in model.keys}
    for number in site.released.numbers():
        text = site.released.get(number).lock.encode()
        locked = lock.parse(text, file=f"release {number}: pipeline.lock")
        keep |= {key for model in _models(locked) for key in model.keys}
    return collecting.gc(site.project, site.stored, frozenset(keep), say=site.say)


def _models(locked: lock.Lock | None) -> tuple[lock.Model, ...]:
    return tuple(locked.models.values()) if locked else ()


def recover(site: Site) -> int:
    """Makes a damaged history anew from the releases that are whole; how many there are. The one whose digests are
    live becomes the current one, else the newest."""
    server = observing.observe(site.project)
    live = {name: model.digest for name, model in server.models.items()} if server else {}
    current = None
    for number in site.released.numbers():
        with contextlib.suppress(errors.PipelineError):
            locked = lock.parse(site.released.get(number).lock.encode(), file=f"release {number}: pipeline.lock")
            if live and {name: model.digest for name, model in locked.models.items()} == live:
                current = number
    site.released.rebuild(current)
    return len(site.released.numbers())
