"""`validate`, as a user runs it: warnings stop nothing, what the server refuses does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import project

CONFIG = "\n    config: {{response_cache: {{enable: true}}, model_metrics: {{metric_control: []}}}}\n"


def make(root: Path, release: str, *, runtime: str = "auto", config: str = CONFIG) -> project.Project:
    """A project whose model has fields that are to no purpose, and one that came with 24.11."""
    text = project.SPEC.replace("23.08-py3", f"{release}-py3").replace("embedded", runtime).rstrip() + config
    return project.make(root / "project", text)


def test_a_valid_spec_says_so(tmp_path: Path) -> None:
    """A spec without faults and warnings prints one line, and nothing on standard error."""
    ended = make(tmp_path, "26.08", config="\n").run("validate")
    assert (ended.returncode, ended.stdout) == (0, "pipeline.yaml is valid: 1 models, 2 versions.\n")
    assert "pipeline.yaml:2" not in ended.stderr, "no field is warned of"


def test_warnings_stop_nothing(tmp_path: Path) -> None:
    """A field to no purpose is told with its line, on standard error, and the spec is valid."""
    ended = make(tmp_path, "26.08", runtime="docker").run("validate")
    assert ended.returncode == 0, ended.stderr
    assert "pipeline.yaml is valid" in ended.stdout
    assert "pipeline.yaml:21:14: warning: no answer is kept" in ended.stderr


@pytest.mark.parametrize(("release", "runtime"), [("23.08", "auto"), ("24.10", "docker"), ("26.08", "embedded")])
def test_a_field_that_came_later_is_refused(tmp_path: Path, release: str, runtime: str) -> None:
    """A field that what shall serve does not have yet is an error with its line, and with where that is known from."""
    ended = make(tmp_path, release, runtime=runtime).run("validate", "--json")
    assert ended.returncode == 3, ended.stdout
    found = {each["rule"]: each for each in json.loads(ended.stdout)["findings"]}
    assert found["field-too-new"]["where"]["line"] == 21
    assert "`model_metrics` came with 24.11" in found["field-too-new"]["message"]
    assert "tritonclient 2.52.0" in found["field-too-new"]["source"]
    assert found["cache-off"]["severity"] == "warning"


def test_only_the_chosen_models_are_told_of(tmp_path: Path) -> None:
    """With `--model` the others' fields are not looked at."""
    made = make(tmp_path, "23.08")
    text = (made.root / "pipeline.yaml").read_text()
    start = text.index("  tiny:")
    (made.root / "pipeline.yaml").write_text(text + text[start:].replace("tiny:", "other:").partition("    config:")[0])
    assert made.run("validate", "--model", "other").returncode == 0
    assert made.run("validate").returncode == 3


def test_github_shows_warnings_beside_the_line(tmp_path: Path) -> None:
    """Under GitHub Actions a warning is a workflow command."""
    ended = make(tmp_path, "26.08", runtime="docker").run("validate", GITHUB_ACTIONS="true")
    assert "::warning file=pipeline.yaml,line=21,col=14::" in ended.stderr
