"""When a thing that is done again and again is done next: an interval, a backoff after failures, a budget of restarts.

All times are seconds of one clock that never goes back, and are given in; so is chance. Nothing waits here.
"""

from __future__ import annotations

import math

import msgspec

JITTER = 0.1
"""By how much of itself a wait grows at the most, where jitter is 1."""


class Rhythm(msgspec.Struct, frozen=True, kw_only=True):
    """The wait after a success is `interval` seconds. Each failure in a row doubles it, up to `cap` seconds."""

    interval: float
    cap: float = 900.0


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """When the thing is due, and how many times in a row it has failed."""

    due: float
    failures: int = 0


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """At most `limit` (one or more) restarts within any `window` of seconds. Raises ValueError for less than one."""

    limit: int
    window: float

    def __post_init__(self) -> None:
        if self.limit < 1:
            msg = f"a budget of {self.limit} restarts allows nothing"
            raise ValueError(msg)


def wait(rhythm: Rhythm, failures: int, *, jitter: float = 0.0) -> float:
    """Seconds from the end of one turn to the next, after this many failures in a row.

    `jitter`, from 0 to 1, lengthens it by up to a tenth, so that many machines do not come at the same moment.
    """
    highest = max(rhythm.interval, rhythm.cap)
    # From 64 on the power only grows out of what a float can hold.
    return min(rhythm.interval * 2.0 ** min(failures, 64), highest) * (1.0 + JITTER * jitter)


def succeeded(rhythm: Rhythm, now: float, *, jitter: float = 0.0) -> Turn:
    """The turn after one that ended well at `now`: the failures are forgotten."""
    return Turn(due=now + wait(rhythm, 0, jitter=jitter))


def failed(rhythm: Rhythm, turn: Turn, now: float, *, jitter: float = 0.0) -> Turn:
    """The turn after one that failed at `now`: one failure more, and so a longer wait."""
    failures = turn.failures + 1
    return Turn(due=now + wait(rhythm, failures, jitter=jitter), failures=failures)


def deferred(rhythm: Rhythm, turn: Turn, now: float, *, jitter: float = 0.0) -> Turn:
    """The turn after one that could not take place: neither a success nor a failure, and due after one interval."""
    return Turn(due=now + wait(rhythm, 0, jitter=jitter), failures=turn.failures)


def spend(budget: Budget, restarts: tuple[float, ...], now: float) -> tuple[float, ...]:
    """The restarts that still count, with the one of `now`; oldest first."""
    return (*(then for then in restarts if now < then + budget.window), now)


def allowed(budget: Budget, restarts: tuple[float, ...]) -> float:
    """When another restart keeps within the budget, minus infinity where it does at any time. `restarts` are oldest
    first."""
    if len(restarts) < budget.limit:
        return -math.inf
    return restarts[-budget.limit] + budget.window
