"""A live server moved back and forth between two releases under traffic, whichever runtime it has."""

from __future__ import annotations

import time

from tests import project
from tests.real import live


def back_and_forth(
    made: project.Project, *, rounds: int, model: str = "tiny", version: str = "2", count: int = 100
) -> None:
    """Switches, and looks at every answer that a client got: at least `count` after each switch."""
    locks = {"old": live.release_lock(made, 1), "new": live.release_lock(made, 2)}
    questions, new = live.golden(made, locks["new"], model, version)
    known = {"old": live.golden(made, locks["old"], model, version)[1], "new": new}
    before = live.nonce(made)
    moments = []
    with live.clients(made, known, questions, model) as flow:
        for _ in range(rounds):
            for label, words in (("old", ["rollback"]), ("new", ["apply"])):
                made.good(*words)
                assert live.digest(made, model) == locks[label]["models"][model]["digest"]
                moments.append((label, time.monotonic()))
                flow.proceed(count)
                moments.append((label, time.monotonic()))
    assert flow.failed == []
    assert set(flow.counts) == {"old", "new"}
    assert live.nonce(made) == before
    for (label, began), (_, ended) in zip(moments[::2], moments[1::2], strict=True):
        answers = {each.label for each in flow.requests if began < each.began < each.ended < ended}
        assert answers == {label}, "no answer of the other release after a switch was reported"
