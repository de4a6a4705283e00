"""What should be, what is, and how they differ: a goal is a release to be reached, the spec's own or an earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from pipeline.core import build, config, diff, errors, layout, lock, platforms, release, spec, state
from pipeline.edges import environments, exporters, facts, finished, repository, runtimes, sources
from pipeline.reconcile.site import Site
from pipeline.stages import choose as choosing
from pipeline.stages import observe as observing

_SMI = 5.0
"""Seconds that `nvidia-smi` has to tell the GPU."""


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A release to be reached: the spec and the lock that say so, the state that follows from them, and the server:
    where it is to run and how it is started."""

    declared: spec.Spec
    locked: lock.Lock | None
    state: state.State
    choice: choosing.Choice
    planned: runtimes.Launch

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
            if not spec.kinds(version.source):
                resolved[name, number] = build.Resolved(kind="ensemble", identity={})
                continue
            if version.source.file and version.source.file.files:
                resolved[name, number] = finished.resolve(version.source.file, site.project.root, site.known)
                continue
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
    """What artifacts are made with here."""
    versions = {
        (name, number): version
        for name, model in site.declared.models.items()
        for number, version in model.versions.items()
    }
    found = {(platform := platforms.of(version)).format: platform for version in versions.values()}
    written, tensorrt = _written(site, versions) if {"onnx", "openvino", "tensorrt"} & found.keys() else ({}, "")
    return layout.Makers(
        codes=exporters.codes(),
        toolchains={name: environments.toolchain(site.project.root, each) for name, each in found.items()},
        written=written,
        tensorrt=tensorrt,
        capability=_capability(site.locked) if "tensorrt" in found else "",
    )


def _written(
    site: Site, versions: Mapping[layout.At, spec.Version]
) -> tuple[dict[layout.At, tuple[int | None, int | None]], str]:
    """The opset and IR version of each export, and the image's TensorRT. The matrix is read for those alone whose bytes
    the image shapes."""
    from pipeline.core import compat, matrix, writing  # noqa: PLC0415

    row = compat.find(site.declared.target.image, matrix.parse(facts.releases()))
    return {at: writing.written(version, row) for at, version in versions.items()}, (row and row.tensorrt) or ""


def _capability(locked: lock.Lock | None) -> str:
    """The compute capability of this machine's GPU; where it has none, of the one that the lock's engines are for."""
    from pipeline.core import gpu  # noqa: PLC0415 - only engines are made for a kind of GPU
    from pipeline.edges import machine  # noqa: PLC0415

    known = [each.capability or gpu.capability(each.name) or "" for each in machine.driver(_SMI).gpus]
    return known[0] if known else locked.toolchain.get(layout.CAPABILITY, "") if locked else ""


def besides(site: Site, made: dict[layout.At, build.Build]) -> dict[str, build.Beside]:
    """The files beside configs that the spec asks for, by model."""
    digests = {
        (name, file): finished.digest(each, site.project.root, site.known)
        for name, model in site.declared.models.items()
        for file, each in model.files.items()
    }
    return layout.besides(site.declared, {at: build.key(each) for at, each in made.items()}, digests)


def goal(site: Site, *, online: bool = False) -> Goal:
    """What the spec asks for, as far as it is known before the missing artifacts are built. Only `online` may ask the
    network for what the lock does not pin.

    A model that is left out and that nothing is locked of is no part of it: there is nothing of it to be served.
    """
    made = builds(site, online=online)
    parts = site.chosen | (site.locked.models.keys() if site.locked else set())
    declared = msgspec.structs.replace(
        site.declared, models={name: model for name, model in site.declared.models.items() if name in parts}
    )
    keys = {at: build.key(each) for at, each in made.items() if at[0] in parts}
    beside = {name: build.key_beside(each) for name, each in besides(site, made).items() if name in parts}
    copied = frozenset(keys[at] for at, each in made.items() if at[0] in parts and build.is_copied(each))
    return _goal(site, declared, site.locked, layout.Keys(versions=keys, beside=beside, copied=copied))


def goal_of(site: Site, chosen: release.Release) -> Goal:
    """What a release was: neither its sources nor the toolchain are looked at, the lock has all keys."""
    declared, locked = release.texts(chosen)
    keys = {
        (model, int(number)): each.key
        for model, pinned in locked.models.items()
        for number, each in pinned.versions.items()
    }
    beside = {model: pinned.beside.key for model, pinned in locked.models.items() if pinned.beside}
    return _goal(site, declared, locked, layout.Keys(versions=keys, beside=beside))


def _goal(site: Site, declared: spec.Spec, locked: lock.Lock | None, keys: layout.Keys) -> Goal:
    bare = layout.state_of(declared, locked, keys, None, local=_local(site, locked))
    live = {
        name: state.Live(digest=model.digest, versions=spec.served_versions(declared.models[name]))
        for name, model in bare.models.items()
    }
    choice = choosing.choose(site.project, declared.target, locked.image if locked else None)
    label = release.digest(declared, locked) if locked else ""
    planned = choosing.launch(site.project, declared, choice, release=label)
    server = state.Server(runtime=choice.runtime, fingerprint=runtimes.fingerprint(planned), models=live)
    return Goal(
        declared=declared,
        locked=locked,
        state=msgspec.structs.replace(bare, server=server),
        choice=choice,
        planned=planned,
    )


def fetch(site: Site, wanted: Goal) -> Goal:
    """The goal with its image on the engine: pulled, where it is not there yet. Raises Unfit where it cannot be had."""
    choice = choosing.fetch(wanted.choice, say=site.say)
    planned = choosing.launch(site.project, wanted.declared, choice, release=wanted.digest)
    return msgspec.structs.replace(wanted, choice=choice, planned=planned)


def _local(site: Site, locked: lock.Lock | None) -> dict[str, build.Built]:
    """What the store has of the locked versions that no digest pins."""
    versions = [each for model in locked.models.values() for each in model.versions.values()] if locked else []
    found = {each.key: site.stored.get(each.key) for each in versions if not each.reproducible}
    return {key: built for key, built in found.items() if built is not None}


def observe(site: Site, keys: Iterable[str], planned: runtimes.Launch) -> state.State:
    """What is: of the store those of `keys` that it has, the lock, the repository and the server, beside `planned`."""
    locked = site.locked.models if site.locked else {}
    claims = {model.config: model.digest for model in locked.values()}
    models, strangers = repository.observe(site.project.repository, site.known, claims)
    return state.State(
        store=site.stored.whole(keys),
        models=models,
        server=observing.observe(site.project, planned),
        strangers=strangers,
        locked=lock.keys(site.locked),
        lost=observing.lost(site.project),
    )


def compare(site: Site, wanted: Goal) -> tuple[tuple[diff.Change, ...], state.State]:
    """The changes of the chosen models between what is wanted and what is, and the latter."""
    observed = observe(site, wanted.state.store, wanted.planned)
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
