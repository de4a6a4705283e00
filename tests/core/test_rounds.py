"""How often goldens are asked: each often enough, all of them often enough, and no slow model for ever."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from pipeline.core import rounds

FAST = (0.004, 0.006, 0.03, 0.004, 0.006, 0.03)
"""Seconds that the questions of a small model take: three batches over two protocols."""


def play(
    seconds: tuple[float, ...], wrong: Callable[[int], bool] = lambda _: False, rules: rounds.Rules = rounds.DEFAULT
) -> list[rounds.Asked]:
    """Asks until it is enough, with a clock that is only told of; `wrong` says it of the n-th question of all."""
    asked = [rounds.Asked() for _ in seconds]
    for count in itertools.count(1):
        place = rounds.following(asked, rules)
        if place is None:
            return asked
        then = asked[place]
        asked[place] = rounds.Asked(
            times=then.times + 1, seconds=then.seconds + seconds[place], wrong=then.wrong or wrong(count)
        )
    raise AssertionError


def times(asked: list[rounds.Asked]) -> list[int]:
    """How often each was asked."""
    return [each.times for each in asked]


def test_as_many_as_certainty_takes() -> None:
    """Ninety questions meet a wrong answer in twenty with 99 %, and one question less does not."""
    assert rounds.QUESTIONS == 90
    assert rounds.certainty(rounds.QUESTIONS) >= 0.99 > rounds.certainty(rounds.QUESTIONS - 1)
    assert rounds.certainty(12) == pytest.approx(0.46, abs=0.01)
    assert rounds.certainty(0) == 0


def test_a_fast_model_is_asked_as_often_as_it_takes() -> None:
    """All have the same time: small batches are asked most, the largest more than twice, and 90 in all."""
    asked = play(FAST)
    assert sum(times(asked)) == rounds.QUESTIONS
    assert sorted(times(asked), reverse=True) == [times(asked)[place] for place in (0, 3, 1, 4, 2, 5)]
    assert min(times(asked)) > 2
    spent = [each.seconds for each in asked]
    assert max(spent) - min(spent) <= max(FAST)


@pytest.mark.parametrize("phase", range(20))
def test_each_twentieth_wrong_answer_is_met(phase: int) -> None:
    """Row 49: whichever each twentieth answer is, it is met, and nothing is asked until it passes."""
    asked = play(FAST, lambda count: count % 20 == phase)
    assert sum(each.wrong for each in asked) >= 1
    assert sum(times(asked)) <= 20 + 2 * len(FAST)


def test_one_in_twenty_by_chance_is_met() -> None:
    """Row 49: where each answer is wrong with a chance of one in twenty, 99 of 100 runs meet one."""
    chance = random.Random(49)
    met = sum(any(each.wrong for each in play(FAST, lambda _: chance.random() < 0.05)) for _ in range(4000))
    assert met / 4000 > 0.985


@pytest.mark.parametrize("slow", [0.2, 1.0, 60.0])
def test_a_slow_model_keeps_to_the_budget(slow: float) -> None:
    """A version that takes long is asked every golden twice, and more only within its seconds and one question."""
    asked = play((slow,) * 6)
    spent, least = sum(each.seconds for each in asked), 12 * slow
    assert min(times(asked)) >= 2
    assert spent < max(least, rounds.DEFAULT.seconds + slow) + 1e-6
    assert sum(times(asked)) < rounds.QUESTIONS


def test_what_is_wrong_is_asked_no_more() -> None:
    """After a wrong answer that golden is left alone, and the others are asked twice, to tell which are wrong."""
    assert times(play(FAST, lambda count: count == 2)) == [2, 1, 2, 2, 2, 2]
    assert times(play(FAST, lambda _: True)) == [1] * 6
    assert times(play((1.0,), rules=rounds.ONCE)) == [1]
    assert play(()) == []
