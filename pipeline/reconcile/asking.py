"""Questions to the running server: every golden, or the health of each model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipeline.core import diff, documents, errors, findings, layout, lock, release, report, spec, state
from pipeline.edges import files, record, runtimes, store
from pipeline.reconcile import goals
from pipeline.reconcile.site import Site
from pipeline.stages import observe as observing

if TYPE_CHECKING:
    from pipeline.stages import verify as verifying


def verify(site: Site, *, json: str | None = None, junit: str | None = None) -> report.Report:
    """Asks the running server every golden that the lock pins; the report is written to the files that are named.

    Raises PipelineError where nothing is locked or no server of this project runs.
    """
    made = ask(site, site.declared, site.locked, sorted(site.chosen))
    write(made, json=json, junit=junit)
    return made


def write(made: report.Report, *, json: str | None, junit: str | None) -> None:
    """Writes the report to the files that are named."""
    for path, text in ((json, report.dump_json), (junit, report.dump_junit)):
        if path:
            files.write(Path(path).absolute(), text(made).encode())


def ask(
    site: Site,
    declared: spec.Spec,
    locked: lock.Lock | None,
    names: Iterable[str],
    *,
    running: record.Running | None = None,
) -> report.Report:
    """Asks a server, by default the project's own, every golden of some models.

    Raises PipelineError where a model is not locked, or no server runs.
    """
    from pipeline.stages import verify as verifying  # noqa: PLC0415 - numpy and tritonclient, for this alone

    running = running or runtimes.find(site.project.run)
    if running is None:
        msg = "no server of this project runs"
        raise errors.PipelineError(msg, hint="Start it with `serve`.")
    server = _server(running)
    claims = {}
    for name in names:
        pinned = locked.models.get(name) if locked else None
        if pinned is None:
            msg = f"{name} is not in {site.project.lock.name}"
            raise errors.PipelineError(msg, hint="Run `export` first.")
        goldens = {
            int(number): verifying.Golden(path=site.stored.path(each.key) / store.GOLDEN, sha256=each.golden)
            for number, each in pinned.versions.items()
        }
        claims[name] = verifying.Claim(digest=pinned.digest, goldens=goldens)
    rules = verifying.Rules(timeout=declared.target.ready_timeout)
    made = verifying.verify(site.project, layout.completed(declared, locked), claims, server, rules)
    return msgspec.structs.replace(made, findings=(*made.findings, *_unasked(declared, claims)))


def _unasked(declared: spec.Spec, names: Iterable[str]) -> Iterator[findings.Finding]:
    """A warning for each model that no golden proves."""
    for name in names:
        why = declared.models[name].golden.none
        if why is not None:
            yield findings.Finding(
                rule=report.UNASKED,
                severity=findings.Severity.WARNING,
                message=f"it is loaded, and was asked nothing: {why}",
                hint="Ask it yourself before you count on its answers.",
                model=name,
            )


def _server(running: record.Running) -> verifying.Server:
    from pipeline.stages import verify as verifying  # noqa: PLC0415 - numpy and tritonclient, for this alone

    return verifying.Server(
        id=running.name, address=running.address, http=running.ports.http, grpc=running.ports.grpc, key=running.key
    )


def unverified(made: report.Report, message: str) -> errors.Unverified:
    """The error for a report that did not pass: everything in it, as findings."""
    found = [
        *made.findings,
        *(
            findings.Finding(rule="golden", message=f"{case.protocol}, batch {case.batch}: {line}", model=case.model,
                             version=case.version)
            for case in made.cases
            if case.outcome != "passed"
            for line in ([case.message] if case.message else [str(each) for each in case.mismatches])
        ),
    ]  # fmt: skip
    first = found[0] if found else None
    if first is not None and first.model is not None:
        message = f"{first.model}{f' version {first.version}' if first.version else ''}: {message}"
    return errors.Unverified(
        message, hint="Failed questions are kept in .pipeline/failures/, to be repeated.", found=found
    )


def status(site: Site) -> documents.Status:
    """What runs and what it serves, beside what the spec says. Health is a real inference of a golden."""
    changes, observed = goals.compare(site, goals.goal(site))
    pending = {each.subject.partition("/")[0] for each in changes}
    moved = any(each.kind is diff.Kind.SERVER for each in changes)
    live = observed.server.models if observed.server else {}
    health = _health(site, observed)
    rows = tuple(
        documents.Row(
            model=name,
            versions=live[name].versions if name in live else (),
            sync="OutOfSync" if name in pending or moved else "Synced",
            health=health(name),
            digest=live[name].digest if name in live else None,
        )
        for name in sorted(site.chosen | (live.keys() - site.kept))
    )
    return documents.Status(
        server=observing.describe(site.project),
        release=release.current(site.released.history()),
        models=rows,
        pending=bool(pending) or any(row.health != "Healthy" for row in rows),
    )


def _health(site: Site, observed: state.State) -> Callable[[str], documents.Health]:
    """A function that asks a model's smallest golden: of whatever release it is that serves it."""
    from pipeline.stages import verify as verifying  # noqa: PLC0415 - numpy and tritonclient, for this alone

    running = runtimes.find(site.project.run)
    current = site.released.current()
    last = goals.goal_of(site, current) if current else None
    sides = [(site.declared, site.locked), *([(last.declared, last.locked)] if last else [])]

    def health(name: str) -> documents.Health:
        live = observed.server.models.get(name) if observed.server else None
        if running is None or observed.server is None or not observed.server.fingerprint:
            return "Missing"
        if live is None:
            return "Progressing" if name in observing.loading(running) else "Missing"
        server = _server(running)
        for declared, locked in sides:
            pinned = locked.models.get(name) if locked else None
            if pinned is None or pinned.digest != live.digest:
                continue
            goldens = {
                version: verifying.Golden(path=site.stored.path(each.key) / store.GOLDEN, sha256=each.golden)
                for version in live.versions
                if (each := pinned.versions.get(str(version)))
            }
            model = declared.models[name]
            if model.golden.none is not None:
                return "Healthy"  # it is READY: more cannot be known
            good = [verifying.healthy(site.project, model, version, each, server) for version, each in goldens.items()]
            return "Healthy" if all(good) and len(good) == len(live.versions) else "Degraded"
        return "Degraded"  # nobody knows what it serves, so nobody can say that it is right

    return health
