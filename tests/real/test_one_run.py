"""Commands that start at once on one live project: one works, the others are told who it is."""

from __future__ import annotations

import re
import socket

import pytest

from tests.real import between

pytestmark = [pytest.mark.real, pytest.mark.alone]
WORDS = [["apply"], ["rollback"], ["gc"], ["heal"], ["export"], ["assemble"], ["serve"], ["down"]]


def test_all_but_the_holder_are_refused(place: between.Place) -> None:
    """Row 26: while one run holds the project every other is refused, with the holder's pid, host and start."""
    place.start()
    holder = place.project.begin(*between.APPLY, PIPELINE_FAILPOINT="export:sleep=60")
    place.wait(holder, "export")
    others = [place.project.begin(*words) for words in WORDS]
    ends = [between.ended(other) for other in others]
    holder.terminate()
    assert between.ended(holder)[0] == 130
    who = rf"pid {holder.pid} on {re.escape(socket.gethostname())}, `pipeline apply`, since 20\d\d-"
    for words, (code, said) in zip(WORDS, ends, strict=True):
        assert code == 6, (words, said)
        assert re.search(who, said), said
    place.check_whole(place.old)


def test_readers_do_not_wait(place: between.Place) -> None:
    """Row 26: who only looks is not kept waiting by a run, nor keeps one waiting."""
    place.start()
    holder = place.project.begin(*between.APPLY, PIPELINE_FAILPOINT="export:sleep=60")
    place.wait(holder, "export")
    codes = {
        words[0]: place.project.run(*words).returncode for words in (["plan"], ["status"], ["history"], ["verify"])
    }
    holder.terminate()
    assert between.ended(holder)[0] == 130
    assert codes == {"plan": 2, "status": 2, "history": 0, "verify": 0}


@pytest.mark.parametrize("rounds", [1, pytest.param(6, marks=pytest.mark.full)])
def test_eight_at_once(place: between.Place, rounds: int) -> None:
    """Row 26: applies, rollbacks and collections at once under traffic: each works or is refused, and all is whole."""
    place.start()
    with place.clients() as flow:
        for _ in range(rounds):
            words = [[*between.APPLY, "--allow-rollback"], ["rollback"], ["gc"], [*between.APPLY, "--allow-rollback"]]
            runs = [place.project.begin(*each) for each in words * 2]
            ends = [between.ended(run, 120) for run in runs]
            assert {code for code, _ in ends} <= {0, 1, 6}, ends
            assert 0 in {code for code, _ in ends}
            assert all("there is no earlier release" in said for code, said in ends if code == 1), ends
            assert all("pid " in said and "since 20" in said for code, said in ends if code == 6), ends
            flow.proceed(5)
        again = place.project.run(*between.APPLY, "--allow-rollback")
        assert again.returncode == 0, again.stderr
    assert flow.failed == []
    assert set(flow.counts) <= {"old", "new"}
    place.check_whole(place.new)
