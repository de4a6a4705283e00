"""What should be, what is, and how they differ: a goal is a release to be reached, the spec's own or an earlier one."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pipeline.core import (
    build,
    compat,
    config,
    diff,
    errors,
    gpu,
    layout,
    lock,
    matrix,
    platforms,
    release,
    spec,
    state,
)
from pipeline.edges import embedded, environments, exporters, facts, machine, repository, sources
from pipeline.reconcile.site import Site
from pipeline.stages import observe as observing
from pipeline.stages import serve as serving

_SMI = 5.0
"""Seconds that `nvidia-smi` has to tell the GPU."""


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A release to be reached: the spec and the lock that say so, and the state that follows from them."""

    declared: spec.Spec
    locked: lock.Lock | None
    state: state.State

    @property
    def digest(self) -> str:
        """The release's digest; empty before everything is locked."""
        return release.digest(self.declared, self.locked) if self.locked else ""


def builds(site: Site, *, online: bool = False) -> dict[layout.At, build.Build]:
    """Every build that the spec asks for, with its source pinned down. Only `online` may ask the network."""
    resolved: dict[layout.At, build.Resolved] = {}
    for name, model in site.declared.models.items():
        for number, version in model.versions.items():
            pinned = lock.version(site.locked, name, number)
            resolved[name, number] = sources.resolve(
                version.source,
                root=site.project.root,
                cache=site.project.sources,
                locked=pinned.source if pinned else None,
                online=online,
                digest_file=site.known.of,
            )
    return layout.builds(site.declared, resolved, _makers(site))


def _makers(site: Site) -> layout.Makers:
    """What artifacts are made with here. The matrix is read for those alone whose bytes the image's release shapes."""
    found = {
        (platform := platforms.of(version)).format: platform
        for model in site.declared.models.values()
        for version in model.versions.values()
    }
    rows = matrix.parse(facts.releases()) if {"onnx", "openvino", "tensorrt"} & found.keys() else ()
    return layout.Makers(
        codes=exporters.codes(),
        toolchains={name: environments.toolchain(site.project.root, each) for name, each in found.items()},
        row=compat.find(site.declared.target.image, rows) if rows else None,
        capability=_capability(site.locked) if "tensorrt" in found else "",
    )


def _capability(locked: lock.Lock | None) -> str:
    """The compute capability of this machine's GPU; where it has none, of the one that the lock's engines are for."""
    driver = machine.driver(_SMI)
    known = [each.capability or gpu.capability(each.name) or "" for each in driver.gpus]
    return known[0] if known else locked.toolchain.get(layout.CAPABILITY, "") if locked else ""


def goal(site: Site, made: dict[layout.At, build.Build] | None = None) -> Goal:
    """What the spec asks for, as far as it is known before the missing artifacts are built.

    A model that is left out and that nothing is locked of is no part of it: there is nothing of it to be served.
    """
    known = site.chosen | (site.locked.models.keys() if site.locked else set())
    models = {name: model for name, model in site.declared.models.items() if name in known}
    keys = {at: build.key(each) for at, each in (made or builds(site)).items() if at[0] in models}
    return _goal(site, msgspec.structs.replace(site.declared, models=models), site.locked, keys)


def goal_of(site: Site, chosen: release.Release) -> Goal:
    """What a release was: neither its sources nor the toolchain are looked at, the lock has all keys."""
    declared, locked = release.texts(chosen)
    keys = {
        (model, int(number)): each.key
        for model, pinned in locked.models.items()
        for number, each in pinned.versions.items()
    }
    return _goal(site, declared, locked, keys)


def _goal(site: Site, declared: spec.Spec, locked: lock.Lock | None, keys: dict[layout.At, str]) -> Goal:
    bare = layout.state_of(declared, locked, keys, None, local=_local(site, locked))
    live = {
        name: state.Live(digest=model.digest, versions=spec.served_versions(declared.models[name]))
        for name, model in bare.models.items()
    }
    planned = serving.launch(site.project, declared, environments.expected(site.project.root))
    server = state.Server(runtime=observing.RUNTIME, fingerprint=embedded.fingerprint(planned), models=live)
    return Goal(declared=declared, locked=locked, state=msgspec.structs.replace(bare, server=server))


def _local(site: Site, locked: lock.Lock | None) -> dict[str, build.Built]:
    """What the store has of the locked versions that no digest pins."""
    versions = [each for model in locked.models.values() for each in model.versions.values()] if locked else []
    found = {each.key: site.stored.get(each.key) for each in versions if not each.reproducible}
    return {key: built for key, built in found.items() if built is not None}


def observe(site: Site, keys: Iterable[str]) -> state.State:
    """What is: of the store those of `keys` that it has, the lock, the repository and the server."""
    locked = site.locked.models if site.locked else {}
    claims = {model.config: model.digest for model in locked.values()}
    models, strangers = repository.observe(site.project.repository, site.known, claims)
    return state.State(
        store=site.stored.whole(keys),
        models=models,
        server=observing.observe(site.project),
        strangers=strangers,
        locked={f"{name}/{n}": v.key for name, model in locked.items() for n, v in model.versions.items()},
        lost=observing.lost(site.project),
    )


def compare(site: Site, wanted: Goal) -> tuple[tuple[diff.Change, ...], state.State]:
    """The changes of the chosen models between what is wanted and what is, and the latter."""
    observed = observe(site, wanted.state.store)
    found = diff.changes(wanted.state, observed)
    if found:  # only then is it worth the time to tell drift from what was planned, and configs field by field
        observed = _in_detail(site, wanted, observed)
        found = diff.changes(wanted.state, observed)
    site.known.save()
    return tuple(each for each in found if each.subject.partition("/")[0] not in site.kept), observed


def _in_detail(site: Site, wanted: Goal, observed: state.State) -> state.State:
    """The observed state with the digests of the release that was applied last, and the configs that differ."""
    last = site.released.current()
    locked = lock.parse(last.lock.encode(), file=f"release {last.number}: pipeline.lock") if last else None
    models = {
        name: msgspec.structs.replace(model, config=_config(site, wanted.state.models.get(name), model))
        for name, model in observed.models.items()
    }
    applied = {name: model.digest for name, model in locked.models.items()} if locked else {}
    return msgspec.structs.replace(observed, models=models, applied=applied)


def _config(site: Site, wanted: state.Model | None, there: state.Model) -> dict[str, object] | None:
    if wanted is None or wanted.config is None:
        return None
    if wanted.files.get(repository.CONFIG) == there.files.get(repository.CONFIG):
        return None
    text = repository.read_config(site.project.repository, there.name)
    try:
        return config.parse(text) if text else None
    except errors.PipelineError:
        return None
