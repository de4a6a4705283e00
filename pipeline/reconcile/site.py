"""A project as it was read, what it should be, and what it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import msgspec

from pipeline import edges
from pipeline.core import (
    build,
    config,
    diff,
    errors,
    findings,
    layout,
    lock,
    parse,
    release,
    spec,
    state,
    tree,
    yamltext,
)
from pipeline.edges import (
    digests,
    embedded,
    environments,
    exclusive,
    exporters,
    failpoints,
    files,
    folders,
    journal,
    releases,
    repository,
    sources,
    store,
)
from pipeline.stages import lock as locking
from pipeline.stages import observe as observing
from pipeline.stages import serve as serving

_LIMIT = (1 << 20) + 1


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One project with everything that was read of it. `chosen` are the models that `--model` names, or all;
    `work` is the journal of the run, where it may write."""

    project: edges.Project
    declared: spec.Spec
    locked: lock.Lock | None
    known: digests.Digests
    stored: store.Store
    released: releases.Releases
    chosen: frozenset[str]
    say: edges.Say
    work: journal.Journal | None = None

    @property
    def kept(self) -> frozenset[str]:
        """Models of the spec that this run leaves as they are."""
        return frozenset(self.declared.models) - self.chosen

    def step(self, name: str, digest: str = "") -> None:
        """Writes down that the run has got to a failpoint, and passes it."""
        if self.work is not None:
            self.work.step(name, digest)
        failpoints.reach(name)


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A release to be reached: the spec and the lock that say so, and the state that follows from them."""

    declared: spec.Spec
    locked: lock.Lock | None
    state: state.State

    @property
    def digest(self) -> str:
        """The release's digest; empty before everything is locked."""
        return release.digest(self.declared, self.locked) if self.locked else ""


def visit(project: edges.Project, *, name: str, models: tuple[str, ...], say: edges.Say) -> Site:
    """Reads the spec and the lock. `name` is what messages call the spec's file. Raises InvalidSpec."""
    text = _text(project, name)
    declared = parse.parse_spec(text, file=name)
    unknown = [model for model in models if model not in declared.models]
    if unknown:
        msg = f"{name} has no model {unknown[0]}"
        hint = f"It has {', '.join(declared.models) or 'no models'}."
        raise errors.InvalidSpec(msg, hint=hint)
    known = digests.Digests(project.state / "digests.json")
    return Site(
        project=project,
        declared=declared,
        locked=locking.read(project),
        known=known,
        stored=store.Store(project.store, known),
        released=releases.Releases(project.releases),
        chosen=frozenset(models or declared.models),
        say=say,
    )


def visit_applied(project: edges.Project, *, say: edges.Say) -> Site:
    """The site of the release that was applied last: whatever spec and lock say by now, neither is read.

    Raises PipelineError where nothing was applied yet.
    """
    released = releases.Releases(project.releases)
    current = released.current()
    if current is None:
        msg = "nothing was applied here yet"
        raise errors.PipelineError(msg, hint="Run `apply` first.")
    known = digests.Digests(project.state / "digests.json")
    declared, locked = _texts(current)
    return Site(
        project=project,
        declared=declared,
        locked=locked,
        known=known,
        stored=store.Store(project.store, known),
        released=released,
        chosen=frozenset(declared.models),
        say=say,
    )


def _text(project: edges.Project, name: str) -> bytes:
    text = files.read(project.spec, _LIMIT)
    if text is None:
        msg = f"there is no {name}"
        raise errors.InvalidSpec(msg, hint="Run the command in the project's folder, or name the spec with --spec.")
    return text


def locate(project: edges.Project, name: str, found: Iterable[findings.Finding]) -> tuple[findings.Finding, ...]:
    """The findings with the spec's line of the model version that they are about, where they have no place yet."""
    text = files.read(project.spec, _LIMIT) or b""
    built = yamltext.load(text, file=name)
    return tuple(each if each.where or not each.model else _placed(each, built) for each in found)


def _placed(finding: findings.Finding, built: tree.Tree) -> findings.Finding:
    path: tree.Path = ("models", finding.model or "", "versions", str(finding.version))
    where = built.where(path if finding.version else path[:2], on_key=True)
    return msgspec.structs.replace(finding, where=where)


@contextlib.contextmanager
def holding(project: edges.Project, command: str, *, say: edges.Say) -> Iterator[None]:
    """Holds the project as its one writer; nothing of it is read."""
    with exclusive.hold(project.state / "writer", command=f"pipeline {command}", say=say):
        yield


@contextlib.contextmanager
def writing(site: Site, command: str, *, reread: bool = True) -> Iterator[Site]:
    """Holds the project as its one writer, with what killed runs left told and swept away, and the lock read anew.

    The command's name stands in the journal, and its words in the message to other runs. Without `reread` the lock
    on disk is nobody's concern.
    """
    project = site.project
    with holding(project, command, say=site.say):
        _clean(site)
        work = journal.Journal(project.state / "journal.json", command)
        try:
            yield msgspec.structs.replace(site, locked=locking.read(project) if reread else site.locked, work=work)
        except KeyboardInterrupt:
            discard_candidate(project)  # a proof that failed leaves its log to read; one that was stopped has none
            raise
        finally:
            site.known.save()
            work.end()


def _clean(site: Site) -> None:
    """Tells what a run that died was at, ends the server that it had started for itself, and removes its leavings."""
    project = site.project
    left = journal.left(project.state / "journal.json")
    if left is not None:
        site.say(
            f"The previous run, `{left.command}` of {left.start}, died at the step `{left.step}`: "
            "`apply` goes on from there, `heal` restores what was applied before."
        )
        entry = release.Entry(
            release=None,
            digest=left.release,
            command=left.command,
            start=left.start,
            seconds=0.0,
            result="interrupted",
            message=f"died at the step {left.step}",
        )
        # A damaged history must not keep `recover` from being run.
        with contextlib.suppress(errors.PipelineError):
            site.released.record(entry)
    discard_candidate(project)
    serving.recover(project.run, site.say)
    site.stored.sweep()
    site.released.sweep(keep=site.declared.target.keep_releases)
    repository.sweep(project.repository)
    for folder in (project.root, project.state, project.run):
        folders.sweep(folder)
    if left is not None:
        folders.remove(project.state / "journal.json")


def discard_candidate(project: edges.Project) -> None:
    """Ends the server in which models were proven, if a run has left it, and removes its files."""
    embedded.tidy(project.candidate / "run")
    folders.remove(project.candidate)


def history(site: Site) -> release.History:
    """What was deployed here, oldest first."""
    return site.released.history()


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
    versions: dict[str | None, int] = {method: each.version for method, each in exporters.METHODS.items()}
    versions[None] = exporters.ADOPTED.version
    return layout.builds(site.declared, resolved, environments.toolchain(site.project.root), versions)


def goal(site: Site, made: dict[layout.At, build.Build] | None = None) -> Goal:
    """What the spec asks for, as far as it is known before the missing artifacts are built."""
    keys = {at: build.key(each) for at, each in (made or builds(site)).items()}
    return _goal(site, site.declared, site.locked, keys)


def goal_of(site: Site, chosen: release.Release) -> Goal:
    """What a release was: neither its sources nor the toolchain are looked at, the lock has all keys."""
    declared, locked = _texts(chosen)
    keys = {
        (model, int(number)): each.key
        for model, pinned in locked.models.items()
        for number, each in pinned.versions.items()
    }
    return _goal(site, declared, locked, keys)


def dump_spec(declared: spec.Spec) -> str:
    """The text of a resolved spec, as releases keep it: in its own order, which reaches the models' configs."""
    return msgspec.json.encode(declared).decode()


def _texts(chosen: release.Release) -> tuple[spec.Spec, lock.Lock]:
    name = f"release {chosen.number}"
    try:
        declared = msgspec.json.decode(chosen.spec, type=spec.Spec)
    except msgspec.DecodeError as error:
        msg = f"{name} was made by another version of the pipeline: {error}"
        hint = "Go back with that version, or `apply` the spec of that release."
        raise errors.PipelineError(msg, hint=hint) from error
    return declared, lock.parse(chosen.lock.encode(), file=f"{name}: pipeline.lock")


def _goal(site: Site, declared: spec.Spec, locked: lock.Lock | None, keys: dict[layout.At, str]) -> Goal:
    bare = layout.state_of(declared, locked, keys, None)
    live = {
        name: state.Live(digest=model.digest, versions=spec.served_versions(declared.models[name]))
        for name, model in bare.models.items()
    }
    planned = serving.launch(site.project, declared, environments.expected(site.project.root))
    server = state.Server(runtime=observing.RUNTIME, fingerprint=embedded.fingerprint(planned), models=live)
    return Goal(declared=declared, locked=locked, state=msgspec.structs.replace(bare, server=server))


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
