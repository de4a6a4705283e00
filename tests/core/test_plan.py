"""Plans: one JSON file a case in plans/, the desired and the observed state, and the text that must come out."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipeline.core import diff, errors, plan, render, state

CASES = sorted((Path(__file__).parent / "plans").glob("*.json"))


class Case(msgspec.Struct, forbid_unknown_fields=True):
    """Two states and the plan's whole text, line by line."""

    desired: state.State
    observed: state.State
    text: list[str]
    needs_export: list[str] = []
    needs_serve: list[str] = []


def read(path: Path) -> Case:
    """The case in a file."""
    return msgspec.json.decode(path.read_bytes(), type=Case)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_plan_says_what_the_case_says(path: Path) -> None:
    """The wording of plans is frozen, and so is which environments the commands need."""
    case = read(path)
    made = plan.order(diff.changes(case.desired, case.observed))
    assert render.show_plan(made).splitlines() == case.text
    runtime = case.desired.server.runtime if case.desired.server else "embedded"
    assert list(plan.needs(made, "export", runtime=runtime)) == case.needs_export
    assert list(plan.needs(made, "serve", runtime=runtime)) == case.needs_serve


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_reached_state_has_an_empty_plan(path: Path) -> None:
    """Applying twice gives an empty second plan: a state that is reached differs in nothing from itself."""
    case = read(path)
    known = {name: model for name, model in case.desired.models.items() if model.digest is not None}
    reached = msgspec.structs.replace(case.desired, models=known)
    assert diff.changes(reached, reached) == ()


def test_there_are_cases() -> None:
    """The folder of cases was found."""
    assert len(CASES) >= 20


def test_no_changes_is_said_in_known_words() -> None:
    """The closing line of an empty plan starts with the words that scripts look for."""
    empty = state.State(store=frozenset(), models={})
    made = plan.order(diff.changes(empty, empty))
    assert render.show_plan(made).startswith("No changes.")


def test_outside_text_is_shown_not_obeyed() -> None:
    """A name with terminal controls cannot move the cursor or fake a line."""
    change = diff.Change(kind=diff.Kind.REPOSITORY, act=diff.Act.REMOVE, subject="evil\x1b[2J\r\nmodel")
    text = render.show_plan(plan.order([change]))
    assert "\x1b" not in text
    assert "\r" not in text


def live(**models: tuple[int, ...]) -> state.State:
    """What is observed where a server has these versions READY."""
    served = {name: state.Live(digest="d", versions=versions) for name, versions in models.items()}
    server = state.Server(runtime="embedded", fingerprint="f", models=served)
    return state.State(store=frozenset(), models={}, server=server)


def load(act: diff.Act, subject: str = "bert", *fields: diff.Field) -> diff.Change:
    """The change of a live model."""
    return diff.Change(kind=diff.Kind.LOAD, act=act, subject=subject, fields=fields)


def versions(old: list[int], new: list[int]) -> diff.Field:
    """A field as `diff` makes it."""
    return diff.Field(path="versions", old=old, new=new)


REPLACED = diff.Change(kind=diff.Kind.SERVER, act=diff.Act.REPLACE, subject="embedded")
WARNINGS: dict[str, tuple[diff.Change, state.State, tuple[str, ...]]] = {
    "a version goes": (
        load(diff.Act.CHANGE, "bert", versions([1, 2, 3], [2])),
        live(bert=(1, 2, 3)),
        ("Clients that ask bert for version 1, 3 will fail: keep it served.",),
    ),
    "a version comes": (load(diff.Act.CHANGE, "bert", versions([1], [1, 2])), live(bert=(1,)), ()),
    "a model goes": (
        load(diff.Act.REMOVE),
        live(bert=(1,)),
        ("bert will not be served any more: its clients will fail.",),
    ),
    "a model comes": (load(diff.Act.ADD), live(other=(1,)), ()),
    "other bytes of the same versions": (
        load(diff.Act.CHANGE, "bert", diff.Field(path="digest", old="a", new="b")),
        live(bert=(1,)),
        (),
    ),
    "another server": (
        REPLACED,
        live(bert=(1,)),
        ("The server is replaced: clients may have to connect again.",),
    ),
    "another server than one that has no models": (REPLACED, live(), ()),
    "a first server": (
        diff.Change(kind=diff.Kind.SERVER, act=diff.Act.ADD, subject="embedded"),
        state.State(store=frozenset(), models={}),
        (),
    ),
    "files alone": (
        diff.Change(kind=diff.Kind.REPOSITORY, act=diff.Act.REMOVE, subject="bert"),
        live(bert=(1,)),
        (),
    ),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_what_clients_will_notice_is_told(name: str) -> None:
    """Requests that will fail are told before, and nothing else is."""
    change, observed, told = WARNINGS[name]
    assert plan.warnings([change], observed) == told


def removal(subject: str) -> diff.Change:
    """The change that takes a model out of the repository."""
    return diff.Change(kind=diff.Kind.REPOSITORY, act=diff.Act.REMOVE, subject=subject)


EMPTY = state.State(store=frozenset(), models={})
ONE = state.State(store=frozenset(), models={"bert": state.Model(name="bert", files={})})


def test_an_empty_spec_is_a_danger() -> None:
    """Row 66: every model would go, so all of them are named, and the word that would let them go."""
    with pytest.raises(errors.PipelineError, match=r"\(bert, gpt\)") as caught:
        plan.check_removals([removal("gpt"), removal("bert")], EMPTY, allowed=False)
    assert "--remove-all" in caught.value.hint
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("changes", "desired", "allowed"),
    [
        ([removal("gpt")], EMPTY, True),
        ([removal("gpt")], ONE, False),
        ([], EMPTY, False),
        ([load(diff.Act.REMOVE)], EMPTY, False),
    ],
    ids=["meant", "one of two", "nothing there", "only the server's"],
)
def test_removals_that_are_no_danger(changes: list[diff.Change], desired: state.State, allowed: bool) -> None:  # noqa: FBT001
    """A model that leaves the spec goes without a question, and so does all that somebody else has loaded."""
    plan.check_removals(changes, desired, allowed=allowed)


def test_a_saved_plan_is_read_back() -> None:
    """A plan is known again by what it rests on and what it does."""
    made = plan.order([removal("bert")], notes=["a note"])
    saved = plan.load(plan.dump(plan.document(made, basis="sha256:b")), file="plan.json")
    assert (saved.basis, saved.digest) == ("sha256:b", made.digest)
    assert plan.order([removal("gpt")]).digest != made.digest
    assert plan.order([removal("bert")]).digest == made.digest, "notes are no changes"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "no saved plan"),
        (b"\xff", "no saved plan"),
        (b"[]", "no saved plan"),
        (b"{", "no saved plan"),
        (b'{"format": 1, "basis": "b"}', "no saved plan.*digest"),
        (b'{"format": "1", "basis": "b", "digest": "d"}', "no saved plan"),
        (b'{"format": 2, "basis": "b", "digest": "d"}', "has format 2, and this version reads format 1"),
    ],
)
def test_what_is_no_saved_plan_is_refused(text: bytes, reason: str) -> None:
    """A damaged or foreign file is named, with what makes a good one."""
    with pytest.raises(errors.PipelineError, match=f"plan.json.*{reason}") as caught:
        plan.load(text, file="plan.json")
    assert "plan --out" in caught.value.hint
