"""How often the goldens of a served version are asked, and which of them is asked next. No clock, no question here.

A model that is wrong now and then must show it: where one answer in 20 is wrong, 90 questions meet one in 99 cases of
100. A slow model is not asked that often: each version has a few seconds for it, and the report says how far it came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

SHARE = 1 / 20
"""The share of wrong answers that must show."""
CERTAINTY = 0.99
"""How surely it must show."""
QUESTIONS = math.ceil(math.log(1 - CERTAINTY) / math.log(1 - SHARE))
"""So many questions have a wrong answer among them with that certainty, where each is wrong by chance."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Every golden is asked `least` times over each protocol. Then more is asked, until the version has answered
    `questions` in all, or has taken `seconds` for its answers."""

    least: int = 2
    questions: int = QUESTIONS
    seconds: float = 3.0


DEFAULT = Rules()
ONCE = Rules(least=1, questions=1)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of one golden over one protocol so far: how often, how long it took, and whether one was wrong."""

    times: int = 0
    seconds: float = 0.0
    wrong: bool = False


def following(asked: Sequence[Asked], rules: Rules) -> int | None:
    """The place of the golden that is asked next; None where it is enough.

    First each in turn. What was wrong is asked no more, and where anything was, the rest is only asked as often as it
    must be. Then comes what has taken the least time: all get the same time, and so small batches the most questions.
    """
    good = [place for place, each in enumerate(asked) if not each.wrong]
    due = [place for place in good if asked[place].times < rules.least]
    if due:
        return min(due, key=lambda place: asked[place].times)
    if not good or len(good) < len(asked):
        return None
    if sum(each.times for each in asked) >= rules.questions or sum(each.seconds for each in asked) >= rules.seconds:
        return None
    return min(good, key=lambda place: asked[place].seconds)


def certainty(questions: int) -> float:
    """How surely that many questions show a model that is wrong by chance in SHARE of its answers; 0 to 1."""
    return 1 - (1 - SHARE) ** questions
