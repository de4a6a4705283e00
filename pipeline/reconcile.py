"""The program as a list of calls: observe, lay out, diff, plan; export, lock, assemble, serve, verify."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from pipeline import edges
from pipeline.core import build, diff, errors, findings, layout, lock, parse, plan, report, spec, state, tree, yamltext
from pipeline.edges import (
    digests,
    embedded,
    environments,
    exclusive,
    exporters,
    files,
    folders,
    repository,
    sources,
    store,
)
from pipeline.stages import assemble as assembling
from pipeline.stages import down as stopping
from pipeline.stages import export as exporting
from pipeline.stages import lock as locking
from pipeline.stages import serve as serving

_LIMIT = (1 << 20) + 1


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One project with everything that was read of it. `chosen` are the models that `--model` names, or all."""

    project: edges.Project
    declared: spec.Spec
    locked: lock.Lock | None
    known: digests.Digests
    stored: store.Store
    chosen: frozenset[str]
    say: edges.Say

    @property
    def kept(self) -> frozenset[str]:
        """Models of the spec that this run leaves as they are."""
        return frozenset(self.declared.models) - self.chosen


def visit(project: edges.Project, *, name: str, models: tuple[str, ...], say: edges.Say) -> Site:
    """Reads the spec and the lock. `name` is what messages call the spec's file. Raises InvalidSpec."""
    declared = _spec(project, name)
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
        chosen=frozenset(models or declared.models),
        say=say,
    )


def _spec(project: edges.Project, name: str) -> spec.Spec:
    text = files.read(project.spec, _LIMIT)
    if text is None:
        msg = f"there is no {name}"
        raise errors.InvalidSpec(msg, hint="Run the command in the project's folder, or name the spec with --spec.")
    return parse.parse_spec(text, file=name)


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
def writing(site: Site, command: str) -> Iterator[Site]:
    """Holds the project as its one writer, with what killed runs left swept away, and everything read anew."""
    with exclusive.hold(site.project.state / "writer", command=command, say=site.say):
        site.stored.sweep()
        repository.sweep(site.project.repository)
        for folder in (site.project.root, site.project.state, site.project.run):
            folders.sweep(folder)
        try:
            yield msgspec.structs.replace(site, locked=locking.read(site.project))
        finally:
            site.known.save()


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


def keys(made: dict[layout.At, build.Build]) -> dict[layout.At, str]:
    """The build key of each version."""
    return {at: build.key(each) for at, each in made.items()}


def desired(site: Site, pinned: dict[layout.At, str]) -> state.State:
    """What should be, as far as it is known before the missing artifacts are built."""
    bare = layout.state_of(site.declared, site.locked, pinned, None)
    live = {
        name: state.Live(digest=model.digest, versions=spec.served_versions(site.declared.models[name]))
        for name, model in bare.models.items()
    }
    fingerprint = embedded.fingerprint(_launch(site))
    server = state.Server(runtime=serving.RUNTIME, fingerprint=fingerprint, models=live)
    return msgspec.structs.replace(bare, server=server)


def _launch(site: Site) -> embedded.Launch:
    return serving.launch(site.project, site.declared, environments.expected(site.project.root))


def observe(site: Site) -> state.State:
    """What is: the store, the lock, the repository and the server."""
    models, strangers = repository.observe(site.project.repository, site.known)
    locked = site.locked.models if site.locked else {}
    return state.State(
        store=site.stored.keys(),
        models=models,
        server=serving.observe(site.project),
        strangers=strangers,
        locked={f"{name}/{n}": v.key for name, model in locked.items() for n, v in model.versions.items()},
    )


def make_plan(site: Site) -> plan.Plan:
    """What would have to change."""
    observed = observe(site)
    changes = diff.changes(desired(site, keys(builds(site))), observed)
    site.known.save()
    notes = [f"{name}/ in the repository is not the pipeline's and stays as it is." for name in observed.strangers]
    if site.kept:
        changes = tuple(each for each in changes if each.subject.partition("/")[0] not in site.kept)
    return plan.order(changes, notes=notes)


def export(site: Site, *, accept: bool) -> None:
    """Builds what is missing, and locks it."""
    made = builds(site, online=True)
    there = site.stored.keys()
    missing = {
        build.key(each): each
        for (name, _), each in made.items()
        if name in site.chosen and build.key(each) not in there
    }
    if missing:
        python = environments.interpreter(site.project.root)
        exporting.export(missing, project=site.project, stored=site.stored, python=python, say=site.say)
    locking.lock(site.project, site.declared, made, site.locked, stored=site.stored, accept=accept, kept=site.kept)


def assemble(site: Site) -> tuple[str, ...]:
    """Brings the repository to the lock; the names of the models that were touched."""
    goal = desired(site, keys(builds(site)))
    models = {name: model for name, model in goal.models.items() if name in site.chosen}
    observed = observe(site)
    there = {name: model for name, model in observed.models.items() if name not in site.kept}
    return assembling.assemble(
        site.project,
        site.declared,
        msgspec.structs.replace(goal, models=models),
        msgspec.structs.replace(observed, models=there),
        stored=site.stored,
        known=site.known,
        say=site.say,
    )


def serve(site: Site) -> bool:
    """Brings the server to the repository; whether anything had to change."""
    goal = desired(site, keys(builds(site)))
    pending = diff.changes(goal, observe(site))
    ahead = [each for each in pending if each.kind in {diff.Kind.BUILD, diff.Kind.LOCK, diff.Kind.REPOSITORY}]
    if ahead:
        msg = f"the repository is not what the spec says: {ahead[0].subject}"
        raise errors.PipelineError(msg, hint="Run `export` and `assemble` first, or `apply`, which does all.")
    if not pending or goal.server is None:
        return False
    launch = serving.launch(site.project, site.declared, environments.interpreter(site.project.root))
    serving.serve(site.project, site.declared, goal.server, launch, say=site.say)
    return True


def down(site: Site) -> bool:
    """Stops the server; whether one ran."""
    return stopping.down(site.project, say=site.say)


def again(site: Site) -> Site:
    """The same project with the lock read anew, after a step that may have written it."""
    return msgspec.structs.replace(site, locked=locking.read(site.project))


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The server in words, a row a model, and whether anything is not as it should be."""

    server: str
    models: tuple[dict[str, str], ...]
    pending: bool


def status(site: Site) -> Status:
    """What runs and what it serves, beside what should. Health is a real inference of the smallest tensors."""
    goal, observed = desired(site, keys(builds(site))), observe(site)
    site.known.save()
    pending = {each.subject.partition("/")[0] for each in diff.changes(goal, observed)}
    live = observed.server.models if observed.server else {}
    rows = tuple(
        {
            "model": name,
            "versions": ",".join(map(str, live[name].versions)) if name in live else "-",
            "sync": "OutOfSync" if name in pending or serving.RUNTIME in pending else "Synced",
            "health": serving.health(site.project, site.declared, name, live.get(name)),
            "digest": (live[name].digest if name in live else None) or "-",
        }
        for name in sorted(site.chosen)
    )
    unhealthy = any(row["health"] != "Healthy" for row in rows)
    return Status(server=serving.describe(site.project), models=rows, pending=bool(pending) or unhealthy)


def verify(site: Site, *, json: str | None = None, junit: str | None = None) -> report.Report:
    """Asks the running server every golden that the lock pins; the report is written to the files that are named.

    Raises PipelineError where nothing is locked or no server of this project runs.
    """
    from pipeline.stages import verify as verifying  # noqa: PLC0415 - numpy and tritonclient, for this command only

    running = embedded.find(site.project.run)
    if running is None:
        msg = "no server of this project runs"
        raise errors.PipelineError(msg, hint="Start it with `serve`.")
    server = verifying.Server(id=running.name, http=running.ports.http, grpc=running.ports.grpc)
    claims = {}
    for name in sorted(site.chosen):
        pinned = site.locked.models.get(name) if site.locked else None
        if pinned is None:
            msg = f"{name} is not in {site.project.lock.name}"
            raise errors.PipelineError(msg, hint="Run `export` first.")
        goldens = {
            int(number): verifying.Golden(path=site.stored.path(each.key) / store.GOLDEN, sha256=each.golden)
            for number, each in pinned.versions.items()
        }
        claims[name] = verifying.Claim(digest=pinned.digest, goldens=goldens)
    made = verifying.verify(site.project, site.declared, claims, server)
    for path, text in ((json, report.dump_json), (junit, report.dump_junit)):
        if path:
            files.write(Path(path).absolute(), text(made).encode())
    return made
