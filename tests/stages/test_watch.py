"""Watch, with a clock that only waiting moves: backoff, budget, commits that are tried once, others' runs, the end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pipeline.core import errors, findings, pace
from pipeline.stages import watch

RHYTHM = pace.Rhythm(interval=30, cap=200)
BUDGET = pace.Budget(limit=3, window=600)
FIRST, SECOND, THIRD = "1" * 40, "2" * 40, "3" * 40
ENOUGH = "3 restarts or failed tries within 600 s are enough"
QUIET = watch.Did(changed=False)

Act = watch.Did | BaseException


def failure(message: str = "it is broken", hint: str = "Mend it.") -> errors.PipelineError:
    """An error such as a stage raises."""
    return errors.PipelineError(message, hint=hint)


@dataclass
class World:
    """What the watch sees. Each heal and apply does the next thing of its list, and the last one for ever after."""

    heals: list[Act] = field(default_factory=lambda: [QUIET])
    applies: list[Act] = field(default_factory=lambda: [watch.Did(changed=True)])
    commits: list[str | BaseException] = field(default_factory=lambda: [FIRST])
    acted: str | None = None
    follows: bool = True
    until: float = 300
    chance: float = 0
    now: float = 1000
    log: list[tuple[float, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    unsaved: errors.PipelineError | None = None

    def run(self) -> World:
        """Watches until the time is over."""
        branch = None
        if self.follows:
            branch = watch.Branch(
                name="origin/main",
                acted=self.acted,
                look=self._look,
                apply=lambda: self._do("apply", self.applies),
                remember=self._remember,
            )
        outside = watch.Outside(
            clock=lambda: self.now, wait=self._wait, chance=lambda: self.chance, say=self.said.append
        )
        watch.watch(lambda: self._do("heal", self.heals), branch, RHYTHM, BUDGET, outside)
        return self

    def times(self, name: str) -> list[float]:
        """When this was done, in seconds from the begin."""
        return [then - 1000 for then, what in self.log if what == name]

    def _do(self, name: str, acts: list[Act]) -> watch.Did:
        self.log.append((self.now, name))
        act = acts.pop(0) if len(acts) > 1 else acts[0]
        if isinstance(act, BaseException):
            raise act
        return act

    def _look(self, acted: str | None) -> str:
        self.log.append((self.now, f"look {acted and acted[0]}"))
        commit = self.commits.pop(0) if len(self.commits) > 1 else self.commits[0]
        if isinstance(commit, BaseException):
            raise commit
        return commit

    def _remember(self, commit: str) -> None:
        if self.unsaved is not None:
            raise self.unsaved
        self.kept.append(commit)

    def _wait(self, seconds: float) -> bool:
        assert seconds > 0, "this would run without pause"
        self.now += seconds
        return self.now > 1000 + self.until


def test_quiet_watch_heals_on_the_interval_and_says_nothing() -> None:
    """With nothing to do, each interval has one look, and only begin and end are told."""
    world = World(follows=False, until=95).run()
    assert world.times("heal") == [0, 30, 60, 90]
    assert world.said == ["watch: heals every 30 s", "watch: stopped"]


def test_chance_spreads_the_waits() -> None:
    """Jitter lengthens each interval."""
    assert World(follows=False, until=70, chance=1).run().times("heal") == [0, 33, 66]


def test_repair_is_told() -> None:
    """A heal that has changed something is one line."""
    world = World(follows=False, until=40, heals=[watch.Did(changed=True), QUIET]).run()
    assert world.said[1:-1] == ["watch: healed"]


def test_backoff_grows_and_resets() -> None:
    """Each failure in a row doubles the wait up to the cap; a success brings the interval back."""
    broken = failure()
    heals: list[Act] = [broken, broken, QUIET, broken, QUIET]
    world = World(follows=False, until=800, heals=heals)
    world.run()
    assert world.times("heal")[:6] == [0, 60, 180, 210, 600, 630]
    assert world.said[1:6] == [
        "watch: could not heal: it is broken; Mend it; looks again in 60 s",
        "watch: could not heal: it is broken; Mend it; looks again in 120 s",
        "watch: all is as it was applied",
        f"watch: could not heal: it is broken; Mend it; {ENOUGH}: heals again in 390 s",
        "watch: all is as it was applied",
    ]


def test_restarts_stay_within_the_budget() -> None:
    """A server that dies again and again is started three times within 600 s, and once more when they are over."""
    world = World(follows=False, until=1300, heals=[watch.Did(changed=True, restarted=True)]).run()
    times = world.times("heal")
    assert times == [0, 30, 60, 600, 630, 660, 1200, 1230, 1260]
    assert world.said[1:5] == [
        "watch: healed, with a new server; looks again in 30 s",
        "watch: healed, with a new server; looks again in 30 s",
        f"watch: healed, with a new server; {ENOUGH}: heals again in 540 s",
        "watch: healed, with a new server; looks again in 30 s",
    ]


def test_a_new_commit_is_followed_while_healing_pauses() -> None:
    """The spent budget stops healing, not following; an applied commit does not give the budget back."""
    world = World(
        heals=[watch.Did(changed=True, restarted=True)], commits=[*[FIRST] * 5, SECOND], acted=FIRST, until=650
    ).run()
    assert world.times("apply") == [150]
    assert world.times("heal") == [0, 30, 60, 600, 630]


def test_each_commit_is_applied_once() -> None:
    """A new commit is applied at once, in place of a heal, is kept in mind, and is not applied again."""
    world = World(commits=[FIRST, FIRST, SECOND], until=125).run()
    assert world.times("apply") == [0, 60]
    assert world.times("heal") == [30, 90, 120]
    assert world.kept == [FIRST, SECOND]
    assert world.said == [
        "watch: heals every 30 s, and follows origin/main",
        "watch: origin/main is at 111111111111: applies it",
        "watch: 111111111111 is applied",
        "watch: origin/main is at 222222222222: applies it",
        "watch: 222222222222 is applied",
        "watch: stopped",
    ]


def test_a_commit_that_was_acted_on_before_the_start_is_left_alone() -> None:
    """Whoever went back from the commit is not overruled, also by a watch that is started anew."""
    world = World(acted=FIRST).run()
    assert world.times("apply") == []
    assert world.times("look 1")[:2] == [0, 30]
    assert world.times("heal")[:2] == [0, 30]


def test_a_commit_that_changes_nothing_is_told() -> None:
    """A commit without an effect is applied too, and told in other words."""
    world = World(applies=[QUIET], until=10).run()
    assert world.said[2] == "watch: 111111111111 changes nothing"
    assert world.kept == [FIRST]


def test_a_commit_that_failed_is_not_tried_again_until_the_branch_moves() -> None:
    """After the failure healing goes on, in the same turn and on the interval; the next commit gets its try."""
    found = [findings.Finding(rule="golden", message="output differs", model="bert")]
    wrong = errors.Unverified("a model is wrong", hint="Look at it.", found=found)
    world = World(commits=[*[FIRST] * 3, SECOND], applies=[wrong, watch.Did(changed=True)], until=125).run()
    assert world.times("apply") == [0, 90]
    assert world.times("heal") == [0, 30, 60, 120]
    assert world.kept == [FIRST, SECOND]
    assert world.said[2] == (
        "watch: 111111111111 failed and is not tried again until origin/main moves: "
        "a model is wrong; bert: output differs; Look at it"
    )


def test_a_commit_that_cannot_be_kept_in_mind_is_not_tried_again_either() -> None:
    """With a full disk the commit is known until the end of this watch, which is told."""
    world = World(unsaved=failure("the disk is full", ""), until=65).run()
    assert world.times("apply") == [0]
    assert world.said[3] == "watch: 111111111111 will be applied again when the watch is started anew: the disk is full"


def test_following_fails_for_itself() -> None:
    """An unreachable remote is asked less and less often, while healing keeps its interval; its return is told."""
    gone = failure("no network", "")
    world = World(commits=[gone, gone, FIRST], acted=FIRST, until=215).run()
    assert world.times("look 1") == [0, 60, 180, 210]
    assert world.times("heal") == [0, 30, 60, 90, 120, 150, 180, 210]
    assert world.said[1:-1] == [
        "watch: cannot follow origin/main: no network; tries again in 60 s",
        "watch: cannot follow origin/main: no network; tries again in 120 s",
        "watch: follows origin/main again",
    ]


def test_failed_healing_does_not_hold_up_following() -> None:
    """While healing waits longer and longer, the branch is looked at on the interval."""
    world = World(heals=[failure()], acted=FIRST, until=100).run()
    assert world.times("look 1") == [0, 30, 60, 90]
    assert world.times("heal") == [0, 60]


def test_another_run_is_no_failure() -> None:
    """While another run holds the project, heal and commit wait one interval, told once; the budget is not touched."""
    busy = errors.Busy("another run holds this project: pid 7", hint="Wait.")
    world = World(heals=[busy, busy, QUIET], applies=[busy, busy, watch.Did(changed=True)], until=95).run()
    assert world.times("apply") == [0, 30, 60]
    assert world.times("heal") == [0, 30, 90]
    assert world.kept == [FIRST]
    waits = [line for line in world.said if line.startswith("watch: waits")]
    assert waits == ["watch: waits: another run holds this project: pid 7; tries again in 30 s"]


def test_busy_keeps_the_failures_and_is_told_anew_after_a_heal() -> None:
    """A turn that could not take place neither adds to the backoff nor ends it."""
    broken = failure()
    heals: list[Act] = [broken, errors.Busy("pid 7"), broken, errors.Busy("pid 7"), QUIET]
    world = World(follows=False, heals=heals, until=300).run()
    assert world.times("heal")[:5] == [0, 60, 90, 210, 240]
    assert [line.partition(";")[0] for line in world.said[1:-1]] == [
        "watch: could not heal: it is broken",
        "watch: waits: pid 7",
        "watch: could not heal: it is broken",
        "watch: waits: pid 7",
        "watch: all is as it was applied",
    ]


def test_commit_that_meets_another_run_is_told() -> None:
    """The commit waits for the next interval, and healing, which is not in its way, goes on."""
    world = World(applies=[errors.Busy("pid 7"), QUIET], until=40).run()
    assert world.times("heal") == [0]
    assert world.said[2:4] == [
        "watch: waits: pid 7; tries again in 30 s",
        "watch: origin/main is at 111111111111: applies it",
    ]


def test_look_that_meets_another_run_waits() -> None:
    """A commit that cannot be checked out now is tried at the next interval."""
    world = World(commits=[errors.Busy("pid 7"), FIRST], until=40).run()
    assert world.times("apply") == [30]
    assert world.said[1] == "watch: waits: pid 7; tries again in 30 s"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), errors.Interrupted("stopped")])
@pytest.mark.parametrize("where", ["heal", "apply", "look"])
def test_an_interrupt_ends_the_watch(interrupt: BaseException, where: str) -> None:
    """An interrupt of anything that runs ends the watch in order, and the commit counts as not acted on."""
    world = World()
    match where:
        case "heal":
            world.acted, world.heals = FIRST, [interrupt]
        case "apply":
            world.applies = [interrupt]
        case _:
            world.commits = [interrupt]
    world.run()
    assert len(world.log) == {"heal": 2, "apply": 2, "look": 1}[where]
    assert world.said[-1] == "watch: stopped"
    assert "failed" not in "".join(world.said)
    assert world.kept == []


def test_a_fault_of_the_program_is_not_hidden() -> None:
    """What is no error of a user's passes: it must be seen, and a service manager starts the watch anew."""
    with pytest.raises(ZeroDivisionError):
        World(heals=[ZeroDivisionError()]).run()


def _ends(begin: Callable[[threading.Event], None]) -> list[str]:
    """What a watch says that waits for a real hour, and is ended by what `begin` sets off."""
    stop = threading.Event()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 1:
            begin(stop)

    outside = watch.Outside(clock=lambda: 0.0, wait=stop.wait, chance=lambda: 0.0, say=say)
    watch.watch(lambda: QUIET, None, pace.Rhythm(interval=3600), BUDGET, outside)
    return said


def test_waiting_is_stopped_at_once() -> None:
    """An event ends the wait before its time."""
    assert _ends(lambda stop: threading.Timer(0.1, stop.set).start()) == ["watch: heals every 3600 s", "watch: stopped"]


def test_sigterm_while_waiting_stops_at_once() -> None:
    """SIGTERM, which arrives as an interrupt, ends the wait before its time."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        said = _ends(lambda _: threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert said == ["watch: heals every 3600 s", "watch: stopped"]
