"""Proves changed models in a server apart, before anything of the live one is touched."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pipeline.core import chains, diff, report
from pipeline.edges import runtimes
from pipeline.reconcile import asking
from pipeline.reconcile.goals import Goal
from pipeline.reconcile.site import Site, discard_candidate
from pipeline.stages import assemble as assembling
from pipeline.stages import serve as serving


def unproven(wanted: Goal, changes: tuple[diff.Change, ...], applied: Mapping[str, str]) -> tuple[str, ...]:
    """The models to try out first: those that are loaded and are not of the release that was proven last, and the
    ensembles that run them; all of them, where the server is another one."""
    if any(each.kind is diff.Kind.SERVER for each in changes):
        return tuple(wanted.state.models)
    loaded = [each.subject for each in changes if each.kind is diff.Kind.LOAD and each.act is not diff.Act.REMOVE]
    changed = [name for name in loaded if applied.get(name) != wanted.state.models[name].digest]
    return chains.touched(wanted.declared, changed)


def prove(site: Site, wanted: Goal, names: tuple[str, ...]) -> None:
    """Tries the models in a server of their own, on ports of its own and copies of the files, with every golden.

    Raises PipelineError where it does not serve them, Unverified where it answers otherwise than the goldens.
    """
    if not names or wanted.state.server is None:
        return
    site.say(f"proving {', '.join(names)} in a server apart")
    folder = site.project.candidate / "models"
    put = assembling.installer(folder, stored=site.stored, known=site.known)
    needed = chains.needed(wanted.declared, names)
    for name in needed:
        put(wanted.state.models[name])
    apart = msgspec.structs.replace(wanted.planned, repository=folder, models=needed)
    live = {name: wanted.state.server.models[name] for name in needed}
    with serving.candidate(site.project.candidate / "run", wanted.declared, live, apart, say=lambda _: None) as running:
        made = asking.ask(site, wanted.declared, wanted.locked, names, running=running)
        trouble = "" if report.passed(made) else runtimes.trouble(running)
    discard_candidate(site.project)
    if not report.passed(made):
        why = f" ({trouble})" if trouble else ""
        raise asking.unverified(made, f"a changed model does not give its golden answers{why}; nothing was changed")
