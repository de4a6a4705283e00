"""`ci` as a step of a workflow calls it: files in, the runner's files and GitHub out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core import diff, plan

ROOT = Path(__file__).parents[1]


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m pipeline ci WORDS` in a folder, which needs no project."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "ci", *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def save(folder: Path, *changes: diff.Change) -> None:
    """A saved plan with these changes."""
    made = plan.document(plan.order(changes), basis="sha256:0")
    (folder / "plan.json").write_bytes(plan.dump(made))


BUILD = diff.Change(kind=diff.Kind.BUILD, act=diff.Act.ADD, subject="bert/1")


def test_matrix_writes_outputs(tmp_path: Path) -> None:
    """The jobs are printed and given to the runner; an empty matrix says so."""
    save(tmp_path, BUILD)
    done = run(tmp_path, "matrix", GITHUB_OUTPUT=str(tmp_path / "output"))
    assert (done.returncode, done.stdout) == (0, '{"models": ["bert"]}\n')
    assert '{"include":[{"model":"bert","heavy":true}]}' in (tmp_path / "output").read_text()
    save(tmp_path)
    run(tmp_path, "matrix", GITHUB_OUTPUT=str(tmp_path / "empty"))
    assert "\nfalse\n" in (tmp_path / "empty").read_text()


def test_summary_goes_to_the_runner_and_a_file(tmp_path: Path) -> None:
    """The Markdown is printed, added to the summary, and written to a file; missing papers say nothing."""
    save(tmp_path, BUILD)
    (tmp_path / "findings.json").write_text("")
    told = tmp_path / "told"
    words = ("summary", "--findings", "findings.json", "--before", "none.lock", "--out", "summary.md")
    done = run(tmp_path, *words, GITHUB_STEP_SUMMARY=str(told))
    assert done.stdout.startswith("### Plan: 1 to add, 0 to change, 0 to remove.\n")
    assert told.read_text().strip() == done.stdout.strip() == (tmp_path / "summary.md").read_text().strip()


def test_settled(tmp_path: Path) -> None:
    """Exit 0 where nothing is left, 2 where something is."""
    save(tmp_path)
    assert run(tmp_path, "settled").returncode == 0
    save(tmp_path, BUILD)
    assert run(tmp_path, "settled").returncode == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("matrix",), "there is no plan plan.json"),
        (("matrix", "--plan", "damaged"), "damaged is not what it should be"),
        (("summary", "--plan", "good", "--report", "damaged"), "damaged is not what it should be"),
        (("summary", "--plan", "good", "--after", "damaged"), "damaged is not a lock"),
        (("comment", "--body", "damaged"), "needs the pull request"),
        (("comment", "--number", "7"), "there is no text summary.md"),
        (("comment", "--number", "7", "--body", "damaged"), "GITHUB_TOKEN"),
        (("drift", "--plan", "good"), "GITHUB_TOKEN"),
    ],
)
def test_what_is_missing_or_damaged(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    """Each is told, with what to do next, and without a traceback."""
    save(tmp_path)
    (tmp_path / "plan.json").rename(tmp_path / "good")
    (tmp_path / "damaged").write_text("{")
    done = run(tmp_path, *words)
    assert done.returncode == 1, done.stdout
    assert says in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_it_is_light(tmp_path: Path) -> None:
    """What a workflow tells needs neither torch nor a client of Triton."""
    save(tmp_path, BUILD)
    code = (
        "import sys; from pipeline import cli; assert cli.main(['ci', 'summary']) == 0; "
        "print(sorted({'torch', 'tritonclient', 'numpy', 'docker'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
