"""Watch: heals again and again, and follows a git branch: GitOps for one machine."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pipeline import edges
from pipeline.reconcile.deploy import Allowed
from pipeline.reconcile.site import Site


class Watching(msgspec.Struct, frozen=True, kw_only=True):
    """How to watch: seconds between looks, the branch to follow (`remote/branch`), and at most how many new servers
    in how many seconds."""

    interval: float
    git: str | None
    restarts: int
    window: float
    allowed: Allowed = Allowed()


def watch(visit: Callable[[], Site], how: Watching, *, say: edges.Say) -> None:
    """Watches until it is stopped. `visit` reads the project anew."""
    raise NotImplementedError
