"""Watch: heals again and again, and follows a git branch: GitOps for one machine."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pipeline import edges
from pipeline.core import diff, documents, pace
from pipeline.edges import clock, git
from pipeline.reconcile import deploy
from pipeline.reconcile.site import Site, holding, visit_applied, writing
from pipeline.stages import follow as following
from pipeline.stages import watch as watching

_FETCH = 60.0  # seconds that a fetch may take
_COMMAND = "watch"


class Watching(msgspec.Struct, frozen=True, kw_only=True):
    """How to watch: seconds between looks, the branch to follow (`remote/branch`), at most how many new servers in
    how many seconds, and what an apply may do."""

    interval: float
    git: str | None
    restarts: int
    window: float
    allowed: deploy.Allowed = deploy.Allowed()


def watch(project: edges.Project, visit: Callable[[], Site], how: Watching, *, say: edges.Say) -> None:
    """Watches until it is interrupted. `visit` reads spec and lock anew: only what applies them needs them to be good.

    Raises PipelineError where the branch has no name that git could know, or what was acted on last is not known.
    """

    def heal() -> watching.Did:
        with writing(visit_applied(project, say=say), _COMMAND, reread=False) as site:
            return _did(deploy.heal(site))

    def apply() -> watching.Did:
        with writing(visit(), _COMMAND) as site:
            return _did(deploy.apply(site, how.allowed))

    watching.watch(
        heal,
        _branch(project, how.git, apply, say) if how.git else None,
        pace.Rhythm(interval=how.interval),
        pace.Budget(limit=how.restarts, window=how.window),
        watching.Outside(clock=clock.now, wait=clock.wait, chance=clock.chance, say=say),
    )


def _branch(project: edges.Project, name: str, apply: Callable[[], watching.Did], say: edges.Say) -> watching.Branch:
    upstream = git.parse_upstream(name)

    def look(acted: str | None) -> str:
        return following.follow(
            project, upstream, acted, hold=lambda: holding(project, _COMMAND, say=say), timeout=_FETCH
        )

    return watching.Branch(
        name=str(upstream),
        acted=following.recall(project),
        look=look,
        apply=apply,
        remember=lambda commit: following.remember(project, commit),
    )


def _did(done: documents.Outcome) -> watching.Did:
    restarted = any(each.kind is diff.Kind.SERVER for each in done.changes)
    return watching.Did(changed=bool(done.changes), restarted=restarted)
