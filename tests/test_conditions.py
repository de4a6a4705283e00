"""Which jobs of the workflows run: for whom, after what, and no stranger's pull request on a runner of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import expressions

WORKFLOWS = Path(__file__).parents[1] / ".github" / "workflows"
ALWAYS = {"validate", "plan", "build", "verify"}
OURS = {
    "github.event_name": "pull_request",
    "github.event.pull_request.head.repo.full_name": "team/models",
    "github.event.repository.default_branch": "main",
    "github.repository": "team/models",
    "github.ref_name": "7/merge",
    "inputs.deploy": True,
    "vars.GPU_RUNNER": "gpu",
    "vars.DEPLOY_RUNNER": "server",
}
FORK = OURS | {"github.event.pull_request.head.repo.full_name": "stranger/models"}
LANDED = OURS | {"github.event_name": "push", "github.ref_name": "main"}
ALONE = {"vars.GPU_RUNNER": "", "vars.DEPLOY_RUNNER": ""}
FAILED = "failure"
CASES: dict[str, tuple[dict[str, Any], dict[str, str], str, set[str]]] = {
    "pull request": (OURS, {}, "true", ALWAYS | {"comment", "gpu"}),
    "pull request without runners of ours": (OURS | ALONE, {}, "true", ALWAYS | {"comment"}),
    "pull request of a fork": (FORK, {}, "true", ALWAYS | {"comment"}),
    "pull request with nothing to build": (OURS, {}, "false", ALWAYS - {"build"} | {"comment", "gpu"}),
    "spec is refused": (OURS, {"validate": FAILED}, "true", {"validate"}),
    "plan fails": (OURS, {"plan": FAILED}, "", {"validate", "plan"}),
    "build fails": (OURS, {"build": FAILED}, "true", {"validate", "plan", "build", "comment"}),
    "answers are wrong": (OURS, {"verify": FAILED}, "true", ALWAYS | {"comment"}),
    "landed": (LANDED, {}, "true", ALWAYS | {"gpu", "deploy"}),
    "landed with nothing to build": (LANDED, {}, "false", ALWAYS - {"build"} | {"gpu", "deploy"}),
    "landed without a server": (LANDED | ALONE, {}, "true", ALWAYS),
    "landed and not to be deployed": (LANDED | {"inputs.deploy": False}, {}, "true", ALWAYS | {"gpu"}),
    "landed on another branch": (LANDED | {"github.ref_name": "next"}, {}, "true", ALWAYS | {"gpu"}),
    "landed with wrong answers": (LANDED, {"verify": FAILED}, "true", ALWAYS),
    "landed and not built": (LANDED, {"build": FAILED}, "true", {"validate", "plan", "build"}),
}


@pytest.mark.parametrize("case", CASES)
def test_which_jobs_run(case: str) -> None:
    """Exactly the jobs that should, by GitHub's own rules for conditions."""
    names, outcomes, anything, expected = CASES[case]
    workflow = yaml.safe_load((WORKFLOWS / "pipeline.yml").read_text())
    ended = expressions.results(workflow, names, outcomes, {"needs.plan.outputs.any": anything})
    assert {name for name, result in ended.items() if result != "skipped"} == expected


@pytest.mark.parametrize(("runner", "expected"), [("", set()), ("server", {"drift"})])
def test_drift_is_looked_for_where_something_is_deployed(runner: str, expected: set[str]) -> None:
    """The scheduled job needs the machine that serves."""
    workflow = yaml.safe_load((WORKFLOWS / "drift.yml").read_text())
    ended = expressions.results(workflow, {"vars.DEPLOY_RUNNER": runner}, {}, {})
    assert {name for name, result in ended.items() if result != "skipped"} == expected


NAMES = {"a.b": "One", "a.none": "", "yes": True}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b == 'oNE'", True),
        ("a.b != 'one' || yes", True),
        ("!yes && a.b", False),
        ("a.none && 'x' || 'it''s'", "it's"),
        ("(yes || a.none) && a.b", "One"),
        ('contains(fromJSON(\'["one", "two"]\'), a.b)', True),
        ("contains(a.b, 'N')", True),
        ("twice('a', 'b')", "abab"),
    ],
)
def test_expressions(text: str, value: object) -> None:
    """Values of expressions, as GitHub documents them."""
    assert expressions.evaluate(text, NAMES, {"twice": lambda *given: "".join(given) * 2}) == value


@pytest.mark.parametrize("text", ["a.b == ", "a.c", "nothing()", "a.b 'x'", "(yes", "yes % 2"])
def test_what_is_no_expression(text: str) -> None:
    """What is misspelt is found here, and would say nothing on GitHub."""
    with pytest.raises((ValueError, KeyError, IndexError)):
        expressions.evaluate(text, NAMES, {})
