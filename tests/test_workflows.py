"""The workflows are valid, pinned and give nothing away."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
POWERS = {
    ("models.yml", "models"): {"contents": "read", "pull-requests": "write"},
    ("pipeline.yml", "comment"): {"contents": "read", "pull-requests": "write"},
    ("drift.yml", "drift"): {"contents": "read", "issues": "write"},
    ("release.yml", "publish"): {"contents": "write", "id-token": "write", "attestations": "write"},
}
"""The jobs that may do more than read. None of them runs what a pull request has written."""
PINNED = re.compile(r"[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def run(program: str, *words: str, files: list[Path] = WORKFLOWS) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment on all workflows."""
    command = [str(Path(sys.executable).with_name(program)), *words, *map(str, files)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_workflows_give_nothing_away() -> None:
    """Row 71: the strictest audit of zizmor finds nothing."""
    for persona in ("pedantic", "auditor"):
        done = run("zizmor", "--offline", "--no-config", "--persona", persona, files=[*WORKFLOWS, *ACTIONS])
        assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_are_valid() -> None:
    """They fit GitHub's schema of workflows."""
    for schema, files in (("vendor.github-workflows", WORKFLOWS), ("vendor.github-actions", ACTIONS)):
        done = run("check-jsonschema", "--builtin-schema", schema, files=files)
        assert done.returncode == 0, done.stdout + done.stderr


def test_actions_are_pinned_by_commit() -> None:
    """Every action is named by its full commit, with its version beside it."""
    used = [
        line.split("uses:")[1].strip()
        for path in [*WORKFLOWS, *ACTIONS]
        for line in path.read_text().splitlines()
        if "uses:" in line and "uses: $/" not in line
    ]
    assert used
    assert [action for action in used if not PINNED.fullmatch(action)] == []


def test_jobs_have_little_power_and_an_end() -> None:
    """No permission by default, only reading in a job, and a limit of time on each."""
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {}
        for name, job in workflow["jobs"].items():
            assert job["permissions"] == POWERS.get((path.name, name), {"contents": "read"})
            assert "uses" in job or job["timeout-minutes"] <= 60


def test_the_right_to_write_runs_no_code_of_a_pull_request() -> None:
    """The comment is written by the base branch's code, and the release by no code at all but GitHub's own."""
    comment = yaml.safe_load((ROOT / ".github/workflows/pipeline.yml").read_text())["jobs"]["comment"]
    assert comment["steps"][0]["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    publish = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]["publish"]
    assert [step["run"].split()[0] for step in publish["steps"] if "run" in step] == ["gh"]


def test_releases_take_nothing_from_a_cache() -> None:
    """No step of a release, and no setting of one, restores what an earlier run has left."""
    assert "cache" not in (ROOT / ".github/workflows/release.yml").read_text().replace("without any cache", "")


def test_no_value_gets_into_a_shell_but_by_the_environment() -> None:
    """Row 72: no script has an expression in it."""
    for path in [*WORKFLOWS, *ACTIONS]:
        text = yaml.safe_load(path.read_text())
        jobs = text["jobs"].values() if "jobs" in text else [text["runs"]]
        scripts = [step["run"] for job in jobs for step in job.get("steps", []) if "run" in step]
        assert [script for script in scripts if "${{" in script] == []


def test_another_repository_needs_ten_lines() -> None:
    """What calls the workflow has, without what every workflow has, at most ten lines of jobs."""
    text = (ROOT / ".github/workflows/models.yml").read_text()
    assert len(text[text.index("jobs:") :].splitlines()) <= 10
