"""The workflows are valid, pinned and give nothing away."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment on all workflows."""
    command = [str(Path(sys.executable).with_name(program)), *words, *map(str, WORKFLOWS)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_workflows_give_nothing_away() -> None:
    """Row 71: the strictest audit of zizmor finds nothing."""
    for persona in ("pedantic", "auditor"):
        done = run("zizmor", "--offline", "--no-config", "--persona", persona)
        assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_are_valid() -> None:
    """They fit GitHub's schema of workflows."""
    done = run("check-jsonschema", "--builtin-schema", "vendor.github-workflows")
    assert done.returncode == 0, done.stdout + done.stderr


def test_actions_are_pinned_by_commit() -> None:
    """Every action is named by its full commit, with its version beside it."""
    used = [
        line.split("uses:")[1].strip()
        for path in WORKFLOWS
        for line in path.read_text().splitlines()
        if "uses:" in line
    ]
    assert used
    assert [action for action in used if not PINNED.fullmatch(action)] == []


def test_jobs_have_little_power_and_an_end() -> None:
    """No permission by default, only reading in a job, and a limit of time on each."""
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {}
        for job in workflow["jobs"].values():
            assert job["permissions"] == {"contents": "read"}
            assert job["timeout-minutes"] <= 60
