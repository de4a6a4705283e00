"""Plans: what would change, saved and checked again, and what environments that takes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from pipeline.core import build, errors, plan, platforms, release, state
from pipeline.edges import files, runtimes
from pipeline.reconcile import attesting, disk, goals, sharing
from pipeline.reconcile.goals import Goal
from pipeline.reconcile.site import Site, writing
from pipeline.stages import serve as serving

_LIMIT = 256 << 20


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A plan with what it was made for: `basis` is the digest of all that was compared, so of all that it rests on."""

    plan: plan.Plan
    basis: str
    older: int | None = None


def make_plan(site: Site, wanted: Goal | None = None) -> Planned:
    """What would have to change to reach the spec, or another goal."""
    site.step("plan")
    wanted = wanted or goals.goal(site)
    changes, observed = goals.compare(site, wanted)
    older = _older(site, wanted) if changes else None
    notes = [
        *(_about(name, wanted) for name in observed.strangers),
        *plan.warnings(changes, observed, gap=_gap(site, wanted)),
        *(_server(site, wanted) if changes else ()),
    ]
    if older is not None:
        notes.append(f"This is release {older}, older than the one that was applied last: it needs --allow-rollback.")
    return Planned(plan=plan.order(changes, notes=notes), basis=_basis(wanted, observed), older=older)


def _about(stranger: str, wanted: Goal) -> str:
    """What becomes of a folder that the pipeline did not make, by all that its config says."""
    if stranger in wanted.state.models:
        return (
            f"{stranger}/ in the repository has no config of the pipeline's: it is replaced if all its other files are "
            "the pipeline's, and must be moved away if not."
        )
    return f"{stranger}/ in the repository is not the pipeline's and stays as it is."


def _gap(site: Site, wanted: Goal) -> bool:
    """Whether another server could take the running one's place only after it has stopped."""
    running = runtimes.find(site.project.run)
    return running is not None and not serving.gapless(running, wanted.planned)


def _server(site: Site, wanted: Goal) -> tuple[str, ...]:
    """Where a server will run, where that was to be chosen, and containers that only look like the project's own."""
    run = site.project.run
    where = f"Triton will run as `{wanted.choice.runtime}`: {wanted.choice.why}."
    found = runtimes.strangers(wanted.planned, run, run / serving.NEXT, site.project.candidate / "run")
    foreign = (
        f"The container {name} bears this project's label, and was not started by what is recorded here: it stays as "
        f"it is. If it is a leftover of yours: docker rm -f {name}."
        for name in found
    )
    chosen = wanted.declared.target.runtime == "auto" and not runtimes.find(run)
    return (*([where] if chosen else []), *foreign)


def _basis(wanted: Goal, observed: state.State) -> str:
    return "sha256:" + build.digest({"spec": wanted.declared, "desired": wanted.state, "observed": observed})


def _older(site: Site, wanted: Goal) -> int | None:
    """The number of the release that the goal is, where a newer one was applied since; else None."""
    if wanted.locked is None or any(model.digest is None for model in wanted.state.models.values()):
        return None
    history = site.released.history()
    current = release.current(history)
    number = next((each.release for each in history.entries if each.release and each.digest == wanted.digest), None)
    return number if number is not None and current is not None and release.is_older(number, current) else None


def save(path: Path, text: bytes) -> None:
    """Writes a plan for `apply FILE`."""
    files.write(path.absolute(), text)


def load_plan(path: Path) -> plan.Saved:
    """Reads a saved plan. Raises PipelineError where there is none."""
    text = files.read(path.absolute(), _LIMIT)
    if text is None:
        msg = f"there is no plan {path}"
        raise errors.PipelineError(msg, hint="Make one with `plan --out FILE`.")
    return plan.load(text, file=str(path))


def check_saved(site: Site, saved: plan.Saved) -> None:
    """Raises Busy where the saved plan is not exactly what would be done now."""
    now = make_plan(site)
    if (now.basis, now.plan.digest) != (saved.basis, saved.digest):
        msg = "the plan is stale: spec, lock, files or server have changed since it was made"
        raise errors.Busy(msg, hint="Make a new one with `plan --out FILE`, and look at it.")


def needs(site: Site, command: str, shared: sharing.Shared) -> tuple[str, ...]:
    """The environment groups that a command will use.

    What a cache has of the builds that it lacks is brought first: a machine that builds nothing needs no torch.
    """
    if command == "rebuild":
        return ("torch", *platforms.groups(site.declared))
    if command in {"lock", "export", "apply"} and sharing.is_named(shared):
        with contextlib.suppress(errors.Busy), writing(site, command) as held:
            disk.take(held, shared)
    if command in {"rollback", "heal", "watch"}:
        last = site.released.current()
        return _needs(site, goals.goal_of(site, last), command) if last else ()
    return (*_needs(site, goals.goal(site), command), *attesting.groups(site.declared, command))


def _needs(site: Site, wanted: Goal, command: str) -> tuple[str, ...]:
    formats = platforms.groups(wanted.declared)
    return plan.needs(make_plan(site, wanted).plan, command, runtime=wanted.choice.runtime, formats=formats)
