"""Follow, on real repositories: a new commit of the branch is checked out, or told why not, with nothing lost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import edges
from pipeline.core import errors
from pipeline.edges import git
from pipeline.stages import follow
from tests import checkout

MAIN = git.Upstream("origin", "main")
CONFIG = "model_repository/bert/config.pbtxt"


@pytest.fixture
def clones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> checkout.Clones:
    """An origin and two clones of it."""
    return checkout.make(tmp_path, monkeypatch)


class Holder:
    """Counts how often the project was held for writing."""

    def __init__(self, error: errors.PipelineError | None = None) -> None:
        self.held = 0
        self._error = error

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        if self._error is not None:
            raise self._error
        self.held += 1
        yield


def _project(clones: checkout.Clones) -> edges.Project:
    return edges.Project(spec=clones.here / "pipeline.yaml")


def _follow(clones: checkout.Clones, acted: str | None = None, hold: Holder | None = None) -> str:
    return follow.follow(_project(clones), MAIN, acted, hold=hold or Holder(), timeout=30)


def test_a_new_commit_is_checked_out_under_the_writers_lock(clones: checkout.Clones) -> None:
    """The branch's commit is told, and its files lie here; the project is held while they change, and only then."""
    hold = Holder()
    before = _follow(clones, hold=hold)
    assert before == git.head(clones.here)
    assert hold.held == 0
    new = clones.push("two")
    assert _follow(clones, before, hold) == new == git.head(clones.here)
    assert (clones.here / "pipeline.yaml").read_text() == "two"
    assert hold.held == 1


def test_another_run_keeps_the_files_as_they_are(clones: checkout.Clones) -> None:
    """While another run holds the project no file changes under it, and Busy says so."""
    clones.push("two")
    with pytest.raises(errors.Busy):
        _follow(clones, hold=Holder(errors.Busy("pid 7")))
    assert (clones.here / "pipeline.yaml").read_text() == "first"


def test_a_commit_that_was_acted_on_leaves_the_files_alone(clones: checkout.Clones) -> None:
    """As long as the branch does not move, a person may edit here and check out what they like."""
    acted = git.head(clones.here)
    checkout.git(clones.here, "checkout", "--quiet", "HEAD~1")
    (clones.here / "pipeline.yaml").write_text("mine")
    assert _follow(clones, acted) == acted
    assert git.head(clones.here) != acted
    assert (clones.here / "pipeline.yaml").read_text() == "mine"


@pytest.mark.parametrize("pushed", [False, True])
def test_local_changes_are_told_and_kept(clones: checkout.Clones, pushed: bool) -> None:  # noqa: FBT001
    """What is not in the commit would be applied in its name: neither a new nor the current commit is acted on."""
    (clones.here / "pipeline.yaml").write_text("mine")
    if pushed:
        clones.push("zero two", name="other.yaml")
    with pytest.raises(errors.PipelineError, match=r"files here have local changes: pipeline\.yaml$") as caught:
        _follow(clones)
    assert "git restore" in caught.value.hint
    assert (clones.here / "pipeline.yaml").read_text() == "mine"


def test_many_local_changes_are_counted(clones: checkout.Clones) -> None:
    """Five of seven files are named, with nothing in them that steers a terminal."""
    names = [f"{number}\x1b[31m" for number in range(7)]
    for name in names:
        clones.push("x", name=name)
    _follow(clones)
    for name in names:
        (clones.here / name).write_text("mine")
    with pytest.raises(errors.PipelineError, match=r"changes: 0\\x1b\[31m, .*4\\x1b\[31m and 2 more$") as caught:
        _follow(clones)
    assert caught.value.message.isprintable()


def test_what_the_pipeline_wrote_itself_does_not_stop_it(clones: checkout.Clones) -> None:
    """The lock and a config may differ; a commit that changes other files goes through, and they stay as written."""
    clones.push("name: bert", name=CONFIG)
    _follow(clones)
    (clones.here / "pipeline.lock").write_text("built here")
    (clones.here / CONFIG).write_text("written here")
    new = clones.push("two")
    assert _follow(clones) == new == git.head(clones.here)
    assert (clones.here / "pipeline.lock").read_text() == "built here"
    assert (clones.here / CONFIG).read_text() == "written here"


def test_what_the_pipeline_wrote_itself_is_not_overwritten(clones: checkout.Clones) -> None:
    """Where the commit has another lock than was written here, git refuses; when it is put back, it goes on."""
    (clones.here / "pipeline.lock").write_text("built here")
    new = clones.push("built there", name="pipeline.lock")
    with pytest.raises(errors.PipelineError, match=r"would be overwritten by merge: pipeline\.lock "):
        _follow(clones)
    assert (clones.here / "pipeline.lock").read_text() == "built here"
    checkout.git(clones.here, "restore", "pipeline.lock")
    assert _follow(clones) == new
    assert (clones.here / "pipeline.lock").read_text() == "built there"


@pytest.mark.parametrize("how", ["rewritten", "rewound", "committed here"])
def test_only_forward(clones: checkout.Clones, how: str) -> None:
    """A branch that was rewritten or taken back, and commits made here, need a person: the hint works."""
    clones.push("two")
    acted = _follow(clones)
    if how == "rewritten":
        clones.rewrite()
    elif how == "rewound":
        checkout.git(clones.there, "push", "--quiet", "--force", "origin", "HEAD~1:main")
    else:
        clones.push("three")
        checkout.git(clones.here, "commit", "--quiet", "--allow-empty", "--message", "mine")
    before = git.head(clones.here)
    with pytest.raises(errors.PipelineError, match=r"origin/main \([0-9a-f]{12}\) is no fast-forward") as caught:
        _follow(clones, acted)
    assert git.head(clones.here) == before
    command = caught.value.hint.split("`")[1].split()
    checkout.git(clones.here, *command[1:])
    assert _follow(clones, acted) == git.head(clones.here) == checkout.git(clones.origin, "rev-parse", "main")


def test_an_unreachable_branch_changes_nothing(clones: checkout.Clones) -> None:
    """The words of git pass through."""
    clones.set_origin(str(clones.origin / "gone"))
    with pytest.raises(errors.PipelineError, match=r"could not fetch origin/main: .*does not appear to be a git repo"):
        _follow(clones)


def test_the_commit_acted_on_is_remembered(clones: checkout.Clones) -> None:
    """It is there after a restart, outside of what git tracks; none is known at first."""
    project = _project(clones)
    assert follow.recall(project) is None
    for commit in ("a" * 40, "b" * 40):
        follow.remember(project, commit)
        assert follow.recall(project) == commit
    assert git.changed_files(clones.here) == ()


@pytest.mark.parametrize("text", [b"", b"main\n", b"a" * 39, b"\xff" * 40, b"a" * 2000])
def test_a_damaged_record_is_not_guessed_at(clones: checkout.Clones, text: bytes) -> None:
    """A record that is no commit is an error that says what removing it means."""
    project = _project(clones)
    project.state.mkdir()
    (project.state / "followed").write_bytes(text)
    with pytest.raises(errors.PipelineError, match="followed") as caught:
        follow.recall(project)
    assert "move it away" in caught.value.hint or "Remove it" in caught.value.hint
