"""Whole commands, killed or starved at every step: all is old or new, and the next run ends as an undisturbed one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.core import lock, state
from pipeline.edges import digests, repository, store
from tests import faults, project

pytestmark = pytest.mark.real
ASIDE = (".pipeline/digests.json", ".pipeline/writer", ".pipeline/releases/history.json")  # these tell what happened
STEP = {"assemble": 16, "export": 40}


class Scene:
    """A project before a command, and what the command leaves when nothing disturbs it."""

    def __init__(self, folder: Path, command: str) -> None:
        self.start = folder / command / "start"
        self.command = command
        made = project.make(self.start)
        made.build()
        made.good("assemble")
        made.edit("max_batch_size: 4", "max_batch_size: 8")
        if command == "assemble":
            made.build("--accept-goldens")
        self.whole = folder / command / "whole"
        shutil.copytree(self.start, self.whole)
        ended = faults.run(self.words(self.whole))
        assert ended.code == 0, ended.said
        self.undisturbed = faults.contents(self.whole, without=ASIDE)

    def words(self, folder: Path) -> Sequence[str]:
        accept = ["--accept-goldens"] if self.command == "export" else []
        return [sys.executable, "-m", "pipeline", self.command, "--spec", str(folder / "pipeline.yaml"), *accept]

    def check(self, folder: Path, result: faults.Run) -> None:
        """Old or new now, and undisturbed after the next run."""
        assert "Traceback" not in result.said
        locks = [(place / "pipeline.lock").read_bytes() for place in (self.start, self.whole)]
        text = (folder / "pipeline.lock").read_bytes()
        assert text in locks
        lock.parse(text, file="pipeline.lock")
        known = digests.Digests(folder / "no record")
        models, strangers = repository.observe(folder / "model_repository", known)
        both = [repository.observe(place / "model_repository", known)[0] for place in (self.start, self.whole)]
        assert strangers == ()
        assert files(models) in [files(each) for each in both]
        stored = store.Store(folder / ".pipeline/store", known)
        assert all(stored.check(key) == () for key in sorted(stored.keys()))
        again = faults.run(self.words(folder))
        assert again.code == 0, again.said
        assert faults.contents(folder, without=ASIDE) == self.undisturbed
        assert faults.leftovers(folder) == []


def files(models: dict[str, state.Model]) -> dict[str, dict[str, str]]:
    """The files of every model."""
    return {name: model.files for name, model in models.items()}


@pytest.fixture(scope="module", params=["assemble", "export"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The commands that change files, each with something to do."""
    return Scene(tmp_path_factory.mktemp("crashes"), request.param)


@pytest.mark.full
def test_kill_at_every_call(scene: Scene, tmp_path: Path) -> None:
    """Row 22, complete: killed at any call that changes a file, all is old or new, and the next run converges."""
    assert faults.sweep(scene.words, scene.start, scene.check, scratch=tmp_path) > 40


def test_kill_sampled(scene: Scene, tmp_path: Path) -> None:
    """Row 22: the same at a sample of the calls, in every run of the tests."""
    assert faults.sweep(scene.words, scene.start, scene.check, scratch=tmp_path, step=STEP[scene.command]) >= 3


@pytest.mark.parametrize("kilobytes", [64, 256, 1024])
def test_full_disk(scene: Scene, tmp_path: Path, kilobytes: int) -> None:
    """Row 20: on a disk that fills up the command says so and leaves all old or new; with room it converges."""
    # The disk is memory: a file takes whole pages.
    used = sum(-(-path.stat().st_size // 4096) * 4 for path in scene.start.rglob("*") if path.is_file())
    left, result = faults.full_disk(scene.words, scene.start, used + kilobytes, scratch=tmp_path)
    assert result.code in {0, 1}
    scene.check(left, result)
