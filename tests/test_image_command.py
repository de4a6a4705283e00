"""`image` where it cannot be built: the reason, exit 5, and nothing fetched for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import project
from tests.edges import engine_stub as stub


@pytest.fixture
def made(tmp_path: Path) -> project.Project:
    """A folder without a spec: none is needed."""
    return project.Project(root=tmp_path, ports=(0, 0, 0))


def test_without_an_engine(made: project.Project, tmp_path: Path) -> None:
    """No engine is exit 5 with what to do, before a wheel is fetched."""
    ended = made.run("image", "--json", DOCKER_HOST=f"unix://{tmp_path}/none")
    assert ended.returncode == 5
    assert f"no Docker engine answers at unix://{tmp_path}/none" in json.loads(ended.stdout)["error"]
    assert "systemctl start docker" in ended.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("words", "base"), [((), "python:3.11-slim-bookworm"), (("--base", "mine:1"), "mine:1")])
def test_a_base_that_cannot_be_got(made: project.Project, tmp_path: Path, words: tuple[str, ...], base: str) -> None:
    """A base that neither the engine nor its registry has is named, exit 5."""
    gone = [[{"error": "manifest unknown", "errorDetail": {"message": "manifest unknown"}}]]
    with stub.serving(tmp_path / "engine.sock", {"POST /images/create": (200, gone)}) as asked:
        ended = made.run("image", *words, DOCKER_HOST=f"unix://{tmp_path}/engine.sock")
    assert ended.returncode == 5
    assert f"could not pull {base}: manifest unknown" in ended.stderr
    assert f"GET /images/{base}/json" in asked.asked
    assert not (tmp_path / ".pipeline").exists()
