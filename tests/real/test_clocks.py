"""Wall clocks that are wrong by years, or go back in the middle of a run: nothing is decided by them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests import project
from tests.real import between

pytestmark = [pytest.mark.real, pytest.mark.alone]
YEARS = 10 * 365 * 86400
CLOCK = """\
import datetime, itertools, sys, time

_true, _moment, _count = time.time, datetime.datetime, itertools.count()


def _shift():
    return {shift}


class _Moment(_moment):
    @classmethod
    def now(cls, tz=None):
        return _moment.fromtimestamp(time.time(), tz)


def _now():
    # gRPC hands moments of this clock to code in C, whose clock is right: it must have both from one.
    asks = sys._getframe(1).f_globals["__name__"]
    return _true() + (0 if asks.startswith("grpc") else _shift())


time.time = _now
time.time_ns = lambda: int(time.time() * 10**9)
datetime.datetime = _Moment
"""
SHIFTS = {
    "ahead": str(YEARS),
    "behind": str(-YEARS),
    "backwards": "-3600 * next(_count)",  # each look an hour before the last
    "to and fro": f"(-1) ** next(_count) * {YEARS}",
}
"""What is added to the wall clock, as Python text."""


def wrong(folder: Path, name: str) -> dict[str, str]:
    """The environment in which every Python process has this wrong wall clock; `folder` gets the code that does it."""
    (folder / "sitecustomize.py").write_text(CLOCK.format(shift=SHIFTS[name]))
    return {"PYTHONPATH": f"{folder}:{project.HOME}"}


@pytest.mark.parametrize("name", SHIFTS)
def test_nothing_seems_changed(place: between.Place, tmp_path: Path, name: str) -> None:
    """Row 65: what is in sync by one clock is in sync by another, and a run that finds nothing to do does nothing."""
    place.start()
    (place.project.root / "pipeline.yaml").write_text(place.old.spec)
    clock = wrong(tmp_path, name)
    for words in (["status"], ["apply"], ["heal"]):
        ended = place.project.run(*words, **clock)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    planned = place.project.run("plan", **clock)
    assert planned.returncode == 0
    assert planned.stdout.startswith("No changes.")
    place.check_whole(place.old)
    assert place.history() == []


@pytest.mark.parametrize("name", ["behind", "to and fro"])
def test_an_apply_by_a_wrong_clock(place: between.Place, tmp_path: Path, name: str) -> None:
    """Row 65: an apply by a wrong clock leaves the bytes that one by the right clock leaves, but for the history's
    moments, and by the right clock nothing is to do after it."""
    place.start()
    done = place.project.run(*between.APPLY, **wrong(tmp_path, name))
    assert done.returncode == 0, done.stderr
    place.check_whole(place.new)
    assert place.project.good("plan").startswith("No changes.")
    entry = json.loads(place.project.good("history", "--json"))["entries"][-1]
    assert 0 < entry["seconds"] < 100
    assert not entry["start"].startswith(time.strftime("%Y"))


def test_exports_and_limits_by_a_wrong_clock(place: between.Place, tmp_path: Path) -> None:
    """Row 65: by a clock that goes back artifacts and lock are the same bytes, and a server that is not ready is given
    up after the seconds of the spec."""
    made = project.make(tmp_path / "project", between.SPEC.replace("ready_timeout: 60", "ready_timeout: 0.5"))
    clock = wrong(tmp_path, "backwards")
    for words in (["export"], ["assemble"]):
        ended = made.run(*words, **clock)
        assert ended.returncode == 0, ended.stderr
    assert (made.root / "pipeline.lock").read_bytes() == place.sides[0].lock
    ended = made.run("serve", **clock)
    assert ended.returncode == 1
    assert "was not ready within 0.5 s" in ended.stderr
    assert between.processes(str(made.root)) == []
