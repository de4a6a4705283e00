"""A saved plan is done exactly as it was shown, or not at all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.edges import triton
from tests import faults
from tests.real import between, live

pytestmark = [pytest.mark.real, pytest.mark.alone]


def change_spec(place: between.Place) -> None:
    """Another number in the spec."""
    place.project.edit("max_batch_size: 4", "max_batch_size: 8")


def change_lock(place: between.Place) -> None:
    """The lock of the other side."""
    (place.project.root / "pipeline.lock").write_bytes(place.new.lock)


def change_repository(place: between.Place) -> None:
    """A byte in a weight."""
    path = place.project.root / "model_repository/tiny/1/model.pt"
    path.write_bytes(path.read_bytes() + b"x")


def change_server(place: between.Place) -> None:
    """A model is unloaded over Triton's own interface."""
    triton.Client(port=place.project.ports[0]).unload("tiny", timeout=30)
    log, size = place.project.root / ".pipeline/run/server.log", -1
    while (now := log.stat().st_size) != size:  # it ends its versions after it has answered, and says so
        size = now
        time.sleep(1)


def change_release(place: between.Place) -> None:
    """Another run has done what the plan says."""
    place.project.good(*between.APPLY)


CHANGES = (change_spec, change_lock, change_repository, change_server, change_release)


def state(place: between.Place) -> tuple[object, ...]:
    """Everything that a run could touch: files, and what the server has loaded. Its log is its own to write."""
    root = place.project.root
    client = triton.Client(port=place.project.ports[0])
    without = [".pipeline/digests.json", ".pipeline/run/server.log"]
    return faults.contents(root, without=without), client.index(), live.pid(place.project)


def named(change: dict[str, str]) -> tuple[str, str, str]:
    """A change without its fields: digests are only known when the artifacts are built."""
    return change["kind"], change["act"], change["subject"]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.removeprefix("change_"))
def test_stale_plan(place: between.Place, tmp_path: Path, change: Callable[[between.Place], None]) -> None:
    """Row 30: whatever has changed since it was made, the plan is refused with exit 6, and nothing is touched."""
    place.start()
    assert place.project.run("plan", "--out", str(tmp_path / "p.json")).returncode == 2
    change(place)
    before = state(place)
    refused = place.project.run("apply", str(tmp_path / "p.json"), "--accept-goldens")
    assert refused.returncode == 6, refused.stdout + refused.stderr
    assert "the plan is stale" in refused.stderr
    assert "plan --out" in refused.stderr
    assert state(place) == before


def test_fresh_plan(place: between.Place, tmp_path: Path) -> None:
    """Row 30: where nothing has changed, what is done is what the plan says, change by change."""
    place.start()
    planned = json.loads(place.project.run("plan", "--json", "--out", str(tmp_path / "p.json")).stdout)
    assert planned == json.loads((tmp_path / "p.json").read_bytes())
    done = place.project.run("apply", str(tmp_path / "p.json"), "--accept-goldens", "--json")
    assert done.returncode == 0, done.stderr
    wanted = [named(each) for each in planned["changes"] if each["kind"] not in {"build", "lock"}]
    assert wanted == [("repository", "~", "tiny"), ("load", "~", "tiny")]
    assert [named(each) for each in json.loads(done.stdout)["changes"]] == wanted
    place.check_whole(place.new)


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b"\xff", b'{"format": 2, "basis": "x", "digest": "x"}'])
def test_what_is_no_plan(place: between.Place, tmp_path: Path, text: bytes) -> None:
    """A file that is no plan, or of another format, is refused with what to do."""
    path = tmp_path / "p.json"
    path.write_bytes(text)
    refused = place.project.run("apply", str(path))
    assert refused.returncode == 1
    assert "plan --out" in refused.stderr
    assert "Traceback" not in refused.stderr
