"""Proves the lock: builds all that it pins once more, from the sources, in a folder that has nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from pipeline import edges
from pipeline.core import build, documents, errors, findings, layout, lock, platforms, proof
from pipeline.edges import digests, environments, folders, store
from pipeline.reconcile import goals
from pipeline.reconcile.site import Site
from pipeline.stages import export as exporting
from pipeline.stages import gather as gathering
from pipeline.stages import rebuild as rebuilding

Builds = Mapping[layout.At, build.Build]


def rebuild(site: Site) -> documents.Rebuilt:
    """Builds the chosen models again, without the store and without a cache. Nothing of the project changes.

    Raises Unverified with every input, tool, file and record that is not what the lock says, PipelineError where
    nothing is locked.
    """
    locked = site.locked
    if locked is None:
        msg = f"there is no {site.project.lock.name} to be proven"
        raise errors.PipelineError(msg, hint="Run `export` first.")
    everything = goals.builds(site, online=True)
    made = {at: each for at, each in everything.items() if at[0] in site.chosen}
    moved = {at: proof.inputs(each, locked) for at, each in made.items()}
    found = [each for told in moved.values() for each in told]
    same = {at: each for at, each in made.items() if not moved[at]}
    # Beside the store, and so on a disk that has room for builds; what a killed run leaves is swept.
    with folders.stage(site.project.state) as aside:
        clean = edges.Project(spec=aside / "project" / site.project.spec.name)
        built = store.Store(clean.store, digests.Digests(clean.state / "digests.json"))
        found += _build(site, same, clean, built)
        for at, each in same.items():
            pinned = lock.version(locked, *at)
            assert pinned is not None  # noqa: S101 - its inputs are those of the lock
            found += rebuilding.compare(each, pinned, rebuilt=built, stored=site.stored)
        if not found:
            beside = {name: each for name, each in goals.besides(site, everything).items() if name in site.chosen}
            new = _lock(site, made, beside, clean, built)
            found += proof.records(new, locked, whole=not site.kept)
    if found:
        msg = f"a rebuild does not give what {site.project.lock.name} says"
        raise errors.Unverified(msg, hint="Each finding says what differs, and what to do.", found=found)
    return documents.Rebuilt(digest=locked.digest, versions=_parts(locked, made))


def _build(site: Site, made: Builds, clean: edges.Project, built: store.Store) -> Iterator[findings.Finding]:
    """Builds each key once; a finding for each that cannot be built from what the lock names."""
    rebuilding.lay(made.values(), (), origin=site.project, clean=clean)
    keys = {build.key(each): (at, each) for at, each in made.items()}
    exported = {key: each for key, (_, each) in keys.items() if not build.is_copied(each)}
    python = environments.interpreter(site.project.root) if exported else None
    if python is not None:
        wanted = [at for at, each in keys.values() if build.key(each) in exported]
        environments.check(python, [platforms.of(site.declared.models[name].versions[n]) for name, n in wanted])
    for key, (_, each) in keys.items():
        try:
            if python is not None and key in exported:
                exporting.export({key: each}, project=clean, stored=built, python=python, say=site.say)
            else:
                gathering.versions({key: each}, project=clean, stored=built, say=site.say)
        except (errors.Unfit, errors.Busy, errors.Interrupted):
            raise
        except errors.PipelineError as error:
            words = " ".join((error.message, *error.details[-1:]))
            hint = f"{error.hint} The clean folder has the files that the lock names, and no others."
            yield findings.Finding(
                rule="rebuild-failed", message=words, hint=hint, model=each.model, version=each.version
            )


def _lock(
    site: Site, made: Builds, beside: Mapping[str, build.Beside], clean: edges.Project, built: store.Store
) -> lock.Lock:
    """The lock that follows from the rebuild, of the chosen models alone."""
    rebuilding.lay((), beside.values(), origin=site.project, clean=clean)
    keys = {build.key_beside(each): each for each in beside.values()}
    gathering.besides(keys, project=clean, stored=built, say=site.say)
    lying = {name: built.get(build.key_beside(each)) for name, each in beside.items()}
    models = {name: model for name, model in site.declared.models.items() if name in site.chosen}
    new = layout.next_lock(
        msgspec.structs.replace(site.declared, models=models),
        made,
        {at: entry for at, each in made.items() if (entry := built.get(build.key(each))) is not None},
        image=lock.image(site.locked, site.declared.target.image),
        kept={},
        beside={name: each for name, each in lying.items() if each is not None},
    )
    return msgspec.structs.replace(new, digest=lock.root(new))


def _parts(locked: lock.Lock, made: Builds) -> tuple[proof.Part, ...]:
    found = []
    for name, number in sorted(made):
        pinned = lock.version(locked, name, number)
        if pinned is not None:
            found.append(proof.Part(model=name, version=number, key=pinned.key, exact=pinned.reproducible))
    return tuple(found)
