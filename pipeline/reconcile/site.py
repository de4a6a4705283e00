"""A project as it was read, what it should be, and what it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import msgspec

from pipeline import edges
from pipeline.core import (
    errors,
    findings,
    lock,
    parse,
    release,
    spec,
    tree,
    yamltext,
)
from pipeline.edges import (
    digests,
    exclusive,
    failpoints,
    files,
    folders,
    journal,
    releases,
    repository,
    runtimes,
    store,
)
from pipeline.stages import lock as locking
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
    declared, locked = release.texts(current)
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
    runtimes.tidy(project.candidate / "run")
    folders.remove(project.candidate)


def history(site: Site) -> release.History:
    """What was deployed here, oldest first."""
    return site.released.history()
