"""Watch: heals again and again, and applies each new commit of a branch once. One line for each thing that happens.

The clock, the waiting, and what healing, applying and following are, come from outside. Nothing is retried within a
turn; what fails is due later and later, and servers are not started again more often than the budget allows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from pipeline import edges
from pipeline.core import errors, pace

_Result = TypeVar("_Result")
_WORDS = 600  # letters of one error in one line


class Did(msgspec.Struct, frozen=True):
    """What a turn did: whether it changed anything, and whether it started another server."""

    changed: bool
    restarted: bool = False


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """The branch to follow, by the `name` that a person knows it by.

    `look` gets the commit that was acted on last, and returns the one that the branch is at, which is checked out if it
    is another one. `apply` brings everything to what is checked out. `acted` is the commit that was acted on last when
    the watch begins; `remember` keeps it for the next one. All raise PipelineError where they fail.
    """

    name: str
    acted: str | None
    look: Callable[[str | None], str]
    apply: Callable[[], Did]
    remember: Callable[[str], None]


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """`clock` gives seconds that never go back. `wait` waits for so many seconds, or until it must end: True then.
    `chance` gives a number from 0 to 1."""

    clock: Callable[[], float]
    wait: Callable[[float], bool]
    chance: Callable[[], float]
    say: edges.Say


def watch(
    heal: Callable[[], Did],
    branch: Branch | None,
    rhythm: pace.Rhythm,
    budget: pace.Budget,
    outside: Outside,
) -> None:
    """Watches until `wait` says that it must end, or until it is interrupted; then it returns.

    An interrupt while something is done is that thing's to handle: it arrives here when all is cleaned up. `heal`
    restores what was applied last. Healing and following fail, and wait, each for itself.
    """
    watching = _Watch(heal, branch, rhythm, budget, outside)
    try:
        watching.begin()
        while not outside.wait(watching.turn()):
            pass
    except (KeyboardInterrupt, errors.Interrupted):
        pass
    outside.say("watch: stopped")


class _Watch:
    """What the watch knows: when healing and following are due, the last restarts, the commit acted on last."""

    def __init__(
        self,
        heal: Callable[[], Did],
        branch: Branch | None,
        rhythm: pace.Rhythm,
        budget: pace.Budget,
        outside: Outside,
    ) -> None:
        self._heal = heal
        self._branch = branch
        self._rhythm = rhythm
        self._budget = budget
        self._outside = outside
        self._acted = branch.acted if branch else None
        self._restarts: tuple[float, ...] = ()
        self._said_busy = ""
        self._healing = self._following = pace.Turn(due=outside.clock())

    def begin(self) -> None:
        """Tells what is watched."""
        following = f", and follows {self._branch.name}" if self._branch else ""
        self._say(f"heals every {self._rhythm.interval:g} s{following}")

    def turn(self) -> float:
        """Does what is due; seconds until something is due again."""
        dues = []
        if self._branch is not None:
            if self._following.due <= self._outside.clock():
                self._follow(self._branch)
            dues.append(self._following.due)
        if self._healing.due <= self._outside.clock():
            self._restore()
        dues.append(self._healing.due)
        return max(0.0, min(dues) - self._outside.clock())

    def _follow(self, branch: Branch) -> None:
        """Looks at the branch, and acts on a commit that was not acted on yet."""
        before = self._following
        match _tried(lambda: branch.look(self._acted)):
            case errors.Busy() as error:
                self._following = self._busy(before, error)
            case errors.PipelineError() as error:
                self._following = self._failed(before)
                self._say(f"cannot follow {branch.name}: {_line(error)}; tries again in {self._until(self._following)}")
            case commit:
                self._following = self._next()
                if before.failures:
                    self._say(f"follows {branch.name} again")
                if commit != self._acted:
                    self._act(branch, commit)

    def _act(self, branch: Branch, commit: str) -> None:
        """Applies a new commit. One that failed is done with as well: only another one, or a person, changes that."""
        short = commit[:12]
        self._say(f"{branch.name} is at {short}: applies it")
        match _tried(branch.apply):
            case errors.Busy() as error:
                self._following = self._busy(self._following, error)
                return
            case errors.PipelineError() as error:
                self._say(f"{short} failed and is not tried again until {branch.name} moves: {_line(error)}")
            case did:
                self._heal_at(self._next())
                self._say(f"{short} is applied" if did.changed else f"{short} changes nothing")
        self._acted = commit
        unsaved = _tried(lambda: branch.remember(commit))
        if unsaved is not None:
            self._say(f"{short} will be applied again when the watch is started anew: {_line(unsaved)}")

    def _restore(self) -> None:
        """Heals. A try that failed counts as a restart: it may have started a server, and the next one may too."""
        before = self._healing
        match _tried(self._heal):
            case errors.Busy() as error:
                self._healing = self._busy(before, error)
                return
            case errors.PipelineError() as error:
                self._spend()
                self._say(f"could not heal: {_line(error)}; {self._heal_at(self._failed(before))}")
            case Did(restarted=True):
                self._spend()
                self._say(f"healed, with a new server; {self._heal_at(self._next())}")
            case did:
                self._healing = self._next()
                if did.changed:
                    self._say("healed")
                elif before.failures:
                    self._say("all is as it was applied")
        self._said_busy = ""

    def _busy(self, before: pace.Turn, error: errors.Busy) -> pace.Turn:
        """The turn after one that another run was in the way of, which is told once."""
        turn = pace.deferred(self._rhythm, before, self._outside.clock(), jitter=self._outside.chance())
        if error.message != self._said_busy:
            self._said_busy = error.message
            self._say(f"waits: {_words(error.message)}; tries again in {self._until(turn)}")
        return turn

    def _next(self) -> pace.Turn:
        return pace.succeeded(self._rhythm, self._outside.clock(), jitter=self._outside.chance())

    def _failed(self, before: pace.Turn) -> pace.Turn:
        return pace.failed(self._rhythm, before, self._outside.clock(), jitter=self._outside.chance())

    def _spend(self) -> None:
        self._restarts = pace.spend(self._budget, self._restarts, self._outside.clock())

    def _heal_at(self, turn: pace.Turn) -> str:
        """Sets healing to that turn, put off until another restart is within the budget; when, and why not before."""
        allowed = pace.allowed(self._budget, self._restarts)
        self._healing = msgspec.structs.replace(turn, due=max(turn.due, allowed))
        again = f"again in {self._until(self._healing)}"
        if allowed <= turn.due:
            return f"looks {again}"
        limit, window = self._budget.limit, self._budget.window
        return f"{limit} restarts or failed tries within {window:g} s are enough: heals {again}"

    def _until(self, turn: pace.Turn) -> str:
        return f"{max(0.0, turn.due - self._outside.clock()):.0f} s"

    def _say(self, text: str) -> None:
        self._outside.say(f"watch: {text}")


def _tried(act: Callable[[], _Result]) -> _Result | errors.PipelineError:
    """What the act returns, or the error with which it failed. An interrupt is no failure: it passes."""
    try:
        return act()
    except errors.Interrupted:
        raise
    except errors.PipelineError as error:
        return error


def _line(error: errors.PipelineError) -> str:
    """An error in one line: its message, the first thing that was found, and what to do."""
    found = [f"{finding.model}: {finding.message}" if finding.model else finding.message for finding in error.findings]
    return _words("; ".join(part.rstrip(".") for part in (error.message, *found[:1], error.hint) if part))


def _words(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WORDS else f"{line[: _WORDS - 3]}..."
