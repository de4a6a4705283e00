"""Pace: waits grow with failures and have a cap; restarts never come more often than the budget says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import pace

RHYTHM = pace.Rhythm(interval=30, cap=900)
SECONDS = st.floats(min_value=0.001, max_value=1e9)
TIMES = st.floats(min_value=0, max_value=1e9)
JITTER = st.floats(min_value=0, max_value=1)


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 30), (1, 60), (2, 120), (3, 240), (4, 480), (5, 900), (6, 900), (10**9, 900)],
)
def test_wait_doubles_up_to_the_cap(failures: int, seconds: float) -> None:
    """Each failure in a row doubles the wait, and no number of them is too many."""
    assert pace.wait(RHYTHM, failures) == seconds


def test_jitter_lengthens_by_a_tenth() -> None:
    """Jitter of 1 makes a wait of 60 s one of 66 s, and half of it half of that."""
    assert pace.wait(RHYTHM, 1, jitter=1) == pytest.approx(66)
    assert pace.wait(RHYTHM, 1, jitter=0.5) == pytest.approx(63)


@given(SECONDS, SECONDS, st.integers(0, 10**6), JITTER)
def test_wait_stays_between_interval_and_cap(interval: float, cap: float, failures: int, jitter: float) -> None:
    """A wait is finite, never shorter than the interval, never a tenth longer than the cap (or a long interval)."""
    rhythm = pace.Rhythm(interval=interval, cap=cap)
    seconds = pace.wait(rhythm, failures, jitter=jitter)
    assert math.isfinite(seconds)
    assert interval <= seconds <= max(interval, cap) * (1 + pace.JITTER) * (1 + 1e-12)
    assert seconds <= pace.wait(rhythm, failures + 1, jitter=jitter)


@given(SECONDS, TIMES, st.lists(st.sampled_from(["well", "badly", "not at all"]), max_size=8))
def test_turns_count_failures_in_a_row(interval: float, now: float, ends: list[str]) -> None:
    """A success forgets the failures, a failure adds one, a turn that did not take place leaves them."""
    rhythm = pace.Rhythm(interval=interval)
    turn = pace.Turn(due=now)
    for number, end in enumerate(ends):
        before = turn.failures
        match end:
            case "well":
                turn = pace.succeeded(rhythm, now)
                assert turn == pace.Turn(due=now + interval, failures=0)
            case "badly":
                turn = pace.failed(rhythm, turn, now)
                assert turn == pace.Turn(due=now + pace.wait(rhythm, before + 1), failures=before + 1)
            case _:
                turn = pace.deferred(rhythm, turn, now)
                assert turn == pace.Turn(due=now + interval, failures=before)
        now = turn.due + number


def test_budget_pauses_until_the_oldest_restart_is_out_of_the_window() -> None:
    """Of three restarts at 0, 60 and 180 s in a window of 600 s, the first is forgotten at 600 s."""
    budget = pace.Budget(limit=3, window=600)
    restarts: tuple[float, ...] = ()
    for now in (0.0, 60.0):
        restarts = pace.spend(budget, restarts, now)
        assert pace.allowed(budget, restarts) == -math.inf
    restarts = pace.spend(budget, restarts, 180)
    assert pace.allowed(budget, restarts) == 600
    restarts = pace.spend(budget, restarts, 600)
    assert list(restarts) == [60, 180, 600]
    assert pace.allowed(budget, restarts) == 660


def test_restarts_beyond_the_budget_count_too() -> None:
    """Three restarts where two are allowed: the next one waits until only one of them is within the window."""
    assert pace.allowed(pace.Budget(limit=2, window=600), (0.0, 100.0, 200.0)) == 700


@given(st.integers(1, 5), st.integers(1, 50), st.lists(st.integers(0, 20), min_size=1, max_size=15))
def test_no_window_has_more_restarts_than_the_limit(limit: int, window: int, gaps: list[int]) -> None:
    """Whoever keeps to it never has more than `limit` restarts within a window, and is never kept too long."""
    budget = pace.Budget(limit=limit, window=window)
    restarts: tuple[float, ...] = ()
    made: list[float] = []
    now = 0.0
    for gap in gaps:
        allowed = pace.allowed(budget, restarts)
        assert allowed <= now + window
        now = max(now + gap, allowed)
        restarts = pace.spend(budget, restarts, now)
        made.append(now)
        assert len(restarts) <= limit
    for start in made:
        assert sum(start <= each < start + window for each in made) <= limit


@pytest.mark.parametrize("limit", [0, -1])
def test_budget_of_nothing_is_refused(limit: int) -> None:
    """A budget that allows no restart at all is a mistake."""
    with pytest.raises(ValueError, match="allows nothing"):
        pace.Budget(limit=limit, window=600)
