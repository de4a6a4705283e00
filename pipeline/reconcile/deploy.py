"""Moves the repository and the live server from one release to another: prove, swap, load, read back, verify, commit.

`apply` goes to what the spec says, `rollback` to an earlier release, `heal` back to the one that was applied last, and
`serve` to what lies in the repository. All take this one way. What fails before the swap has touched nothing; what
fails after it is undone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import msgspec

from pipeline.core import chains, diff, documents, errors, lock, plan, release, report, spec, state
from pipeline.edges import embedded, environments, runtimes
from pipeline.reconcile import asking, attesting, disk, goals, planning, proving, sharing
from pipeline.reconcile.goals import Goal
from pipeline.reconcile.site import Site
from pipeline.stages import assemble as assembling
from pipeline.stages import lock as locking
from pipeline.stages import serve as serving


class Allowed(msgspec.Struct, frozen=True, kw_only=True):
    """What a person has said that may be done: let goldens or the pinned image change, go back to an older release,
    remove every model; and which cache may be read, or written too."""

    goldens: bool = False
    image: bool = False
    rollback: bool = False
    removal: bool = False
    shared: sharing.Shared = sharing.Shared()


def apply(site: Site, allowed: Allowed, *, saved: plan.Saved | None = None) -> documents.Outcome:
    """All that is needed: builds what is missing, proves it, and moves the live server to what the spec says.

    Raises Busy for a stale plan, Unverified where a candidate fails, RolledBack where the live server did.
    """
    if saved is not None:
        planning.check_saved(site, saved)
    new = disk.build_missing(site, accept=allowed.goldens, accept_image=allowed.image, shared=allowed.shared)
    locked = msgspec.structs.replace(site, locked=new)
    wanted = goals.goal(locked)
    older = planning.make_plan(locked, wanted).older
    if older is not None and not allowed.rollback:
        msg = f"the spec and the lock are those of release {older}, older than the one that was applied last"
        raise errors.PipelineError(msg, hint=f"Go back with `rollback {older}`, or say --allow-rollback.")
    attesting.check_goal(locked, wanted)
    return _deploy(site, wanted, removal=allowed.removal, locks=True)


def rollback(site: Site, number: int | None) -> documents.Outcome:
    """Goes back to an earlier release, or to the one before the current; neither network nor exports are needed."""
    if number is None:
        current = site.released.current()
        number = release.previous(site.released.numbers(), current.number) if current else None
    if number is None:
        msg = "there is no earlier release"
        raise errors.PipelineError(msg, hint="`history` lists what was deployed here.")
    wanted = goals.goal_of(site, site.released.get(number))
    lacking = sorted(set(wanted.state.locked.values()) - site.stored.keys())
    if lacking:
        msg = f"the store has not all artifacts of release {number} any more: {lacking[0]} is missing"
        raise errors.Unverified(msg, hint="Choose another release, or `apply` the spec of that one.")
    return _deploy(_whole(site, wanted), wanted, removal=True)


def heal(site: Site) -> documents.Outcome:
    """Restores the release that was applied last, whatever the spec says now."""
    current = site.released.current()
    if current is None:
        msg = "nothing was applied here yet"
        raise errors.PipelineError(msg, hint="Run `apply` first.")
    wanted = goals.goal_of(site, current)
    return _deploy(_whole(site, wanted), wanted, removal=True)


def serve(site: Site) -> documents.Outcome:
    """Moves the server to what the lock says and the repository has."""
    attesting.check_tree(site)
    wanted = goals.goal(site)
    pending, _ = goals.compare(site, wanted)
    ahead = [each for each in pending if each.kind in {*diff.BEFORE, diff.Kind.REPOSITORY}]
    if ahead:
        msg = f"the repository is not what the spec says: {ahead[0].subject}"
        raise errors.PipelineError(msg, hint="Run `export` and `assemble` first, or `apply`, which does all.")
    return _deploy(site, wanted, removal=False)


def _whole(site: Site, wanted: Goal) -> Site:
    """The site with no model left out: an earlier release is reached as a whole."""
    return msgspec.structs.replace(site, chosen=site.chosen | site.kept | frozenset(wanted.declared.models))


def _deploy(site: Site, wanted: Goal, *, removal: bool, locks: bool = False) -> documents.Outcome:
    """Reaches the goal, or leaves everything as it was. `locks` writes the goal's lock as the project's."""
    changes, observed = goals.compare(site, wanted)
    changes = tuple(each for each in changes if each.kind not in diff.BEFORE)
    current = site.released.current()
    committed = current is not None and current.digest == release.digest(*_as_applied(site, wanted))
    if not changes and committed and not (locks and site.locked != wanted.locked):
        return documents.Outcome(changes=(), release=current.number if current else None, report=None)
    plan.check_removals(changes, wanted.state, allowed=removal)
    try:
        return _move(site, wanted, changes, observed, locks=locks)
    except errors.PipelineError as error:
        results: dict[type, release.Result] = {errors.RolledBack: "rolled back", errors.Interrupted: "interrupted"}
        result = results.get(type(error), "failed")
        with contextlib.suppress(errors.PipelineError):  # what went wrong matters more than the history
            site.released.record(_entry(site, wanted, result, error.message))
        raise


def _move(
    site: Site, wanted: Goal, changes: tuple[diff.Change, ...], observed: state.State, *, locks: bool
) -> documents.Outcome:
    """Proves, swaps, serves, verifies, commits; what fails after the swap is undone."""
    applied, last = _applied(site), site.released.history().entries[-1:]
    if isinstance(wanted.planned, embedded.Launch):
        environments.interpreter(site.project.root)  # says what to do where there is none
    wanted = goals.fetch(site, wanted)
    if observed.server is None and wanted.declared.target.runtime == "auto":
        site.say(f"Triton runs as `{wanted.choice.runtime}`: {wanted.choice.why}")
    if observed.server is not None:
        site.step("prove", wanted.digest)
        proving.prove(site, wanted, proving.unproven(wanted, changes, applied))
    site.step("assemble", wanted.digest)
    swaps = assembling.assemble(
        site.project, wanted.state.models, changes, stored=site.stored, known=site.known, say=site.say
    )
    try:
        made = _go_live(site, wanted, changes, applied)
        site.step("commit")
        if locks and wanted.locked is not None:
            locking.write(site.project, wanted.locked)
        number = _commit(site, wanted)
    except BaseException as error:
        if site.released.history().entries[-1:] == last:  # else a signal came when all was done
            try:
                if locks:
                    locking.write(site.project, site.locked)
                _undo(site, changes, observed, swaps, error)
            except KeyboardInterrupt as again:
                msg = "interrupted again, before everything was as it had been"
                hint = "`heal` restores what was applied before, and `apply` goes on."
                raise errors.Interrupted(msg, hint=hint) from again
        raise
    swaps.keep()
    site.step("committed")
    return documents.Outcome(changes=changes, release=number, report=made)


def _go_live(
    site: Site, wanted: Goal, changes: tuple[diff.Change, ...], applied: Mapping[str, str]
) -> report.Report | None:
    """Changes the live server, and asks it every golden of what was changed. Raises Unverified where it fails."""
    site.step("load")
    if wanted.state.server is not None:
        serving.serve(site.project, wanted.declared, wanted.state.server, wanted.planned, changes, say=site.say)
    site.step("verify")
    new = any(each.kind is diff.Kind.SERVER for each in changes)
    changed = [each.subject for each in changes if each.kind is diff.Kind.LOAD]
    loaded = chains.touched(wanted.declared, changed)
    names = [
        name
        for name, model in wanted.state.models.items()
        if name not in site.kept and (new or name in loaded or applied.get(name) != model.digest)
    ]
    if not names:
        return None
    made = asking.ask(site, wanted.declared, wanted.locked, names)
    if not report.passed(made):
        raise asking.unverified(made, "the live server does not give the golden answers")
    return made


def _applied(site: Site) -> dict[str, str]:
    """The digests of the release that was applied last."""
    current = site.released.current()
    locked = goals.goal_of(site, current).locked if current else None
    return {name: model.digest for name, model in locked.models.items()} if locked else {}


def _undo(
    site: Site,
    changes: tuple[diff.Change, ...],
    observed: state.State,
    swaps: assembling.Swaps,
    error: BaseException,
) -> None:
    """Puts files and server back. Raises RolledBack where the server had been changed and serves as before again."""
    swapped = frozenset(swaps.models)
    swaps.undo()
    before = observed.server
    if before is None:
        disk.down(msgspec.structs.replace(site, say=lambda _: None))
        return
    current = site.released.current()
    old = goals.goal_of(site, current) if current else None
    running = runtimes.find(site.project.run)
    # A folder that was put back bears a new time of change: what is loaded from it is loaded again.
    loads = sorted({each.subject for each in changes if each.kind is diff.Kind.LOAD} | (swapped & before.models.keys()))
    if running is None or running.fingerprint != before.fingerprint:
        loads = []
        if old is not None and old.state.server is not None:
            back_again = diff.Change(kind=diff.Kind.SERVER, act=diff.Act.REPLACE, subject=before.runtime)
            serving.serve(site.project, old.declared, old.state.server, old.planned, [back_again], say=site.say)
    elif loads:
        back = [name for name in loads if name in before.models]
        gone = [name for name in loads if name not in before.models]
        declared = old.declared if old else site.declared
        folder = site.project.repository
        serving.change(running, declared, before.models, folder, changed=back, gone=gone, say=site.say)
    if isinstance(error, errors.PipelineError):
        raise _rolled_back(site, old, [name for name in loads if name in before.models], error) from error


def _rolled_back(site: Site, old: Goal | None, names: list[str], error: errors.PipelineError) -> errors.RolledBack:
    """The error that says so, with the proof: the old digests were read back, the old goldens are asked here."""
    known = [name for name in names if old and old.locked and name in old.locked.models]
    if old is not None and known:
        made = asking.ask(site, old.declared, old.locked, known)
        if not report.passed(made):
            raise asking.unverified(made, f"{error.message}; what served before was put back, and fails its goldens")
    msg = f"{error.message}; rolled back: what served before serves again"
    return errors.RolledBack(msg, hint=error.hint, details=error.details, found=error.findings)


def _commit(site: Site, wanted: Goal) -> int:
    """Writes the release and its line in the history; its number."""
    declared, locked = _as_applied(site, wanted)
    made = site.released.commit(
        spec=release.dump_spec(declared),
        lock=lock.dump(locked).decode(),
        digest=release.digest(declared, locked),
        entry=_entry(site, wanted, "applied"),
        keep=site.declared.target.keep_releases,
    )
    return made.number


def _as_applied(site: Site, wanted: Goal) -> tuple[spec.Spec, lock.Lock]:
    """The spec and the lock of what is live: models that this run has left alone are those of the last release."""
    if wanted.locked is None:
        msg = "nothing is locked"
        raise errors.PipelineError(msg, hint="Run `export` first.")
    if not site.kept:
        return wanted.declared, wanted.locked
    current = site.released.current()
    old = goals.goal_of(site, current) if current else None
    models = {name: model for name, model in wanted.declared.models.items() if name not in site.kept}
    pinned = {name: model for name, model in wanted.locked.models.items() if name not in site.kept}
    if old is not None and old.locked is not None:
        models |= {name: model for name, model in old.declared.models.items() if name in site.kept}
        pinned |= {name: model for name, model in old.locked.models.items() if name in site.kept}
    locked = msgspec.structs.replace(wanted.locked, models=pinned)
    return (
        msgspec.structs.replace(wanted.declared, models=models),
        msgspec.structs.replace(locked, digest=lock.root(locked)),
    )


def _entry(site: Site, wanted: Goal, result: release.Result, message: str = "") -> release.Entry:
    command, start, seconds = (
        ("", "", 0.0) if site.work is None else (site.work.command, site.work.start, site.work.seconds)
    )
    return release.Entry(
        release=None,
        digest=wanted.digest,
        command=command,
        start=start,
        seconds=seconds,
        result=result,
        message=message,
    )
