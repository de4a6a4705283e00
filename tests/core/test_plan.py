"""Plans: one JSON file a case in plans/, the desired and the observed state, and the text that must come out."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipeline.core import diff, plan, render, state

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
    assert list(plan.needs(made, "export")) == case.needs_export
    assert list(plan.needs(made, "serve")) == case.needs_serve


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_reached_state_has_an_empty_plan(path: Path) -> None:
    """Applying twice gives an empty second plan: a state that is reached differs in nothing from itself."""
    case = read(path)
    known = {name: model for name, model in case.desired.models.items() if model.digest is not None}
    reached = msgspec.structs.replace(case.desired, models=known)
    assert diff.changes(reached, reached) == ()


def test_there_are_cases() -> None:
    """The folder of cases was found."""
    assert len(CASES) >= 8


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
