"""A broken candidate is refused before the live server is touched; what fails after the swap is undone.

Exports check everything: so each fault is planted in the store, and only the proof in a server apart can see it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.core import errors
from pipeline.edges import triton
from tests import faults, project
from tests.real import between, broken, live

pytestmark = [pytest.mark.real, pytest.mark.alone]

LIMIT = 15


class Fault(NamedTuple):
    """What is wrong with the artifact, the exit code, and what the error must say. `limit`: of `ready_timeout`."""

    act: Callable[[Path], None]
    code: int
    says: str
    limit: int = 60


SERVE = "Triton does not serve tiny version 1: "
GOLDEN = "tiny version 1: a changed model does not give its golden answers; nothing was changed"
LATE = f"it was not ready within {LIMIT} s (target.ready_timeout)"

FAULTS = {
    "no file": Fault(broken.remove, 1, SERVE),  # that Triton does not have it, or did not find it: whichever is first
    "file of another name": Fault(broken.rename, 1, SERVE + "Unavailable: unable to find"),
    "cut short": Fault(broken.cut, 1, SERVE + "Internal: failed to load model"),
    "other type": Fault(broken.module(broken.OtherType), 1, SERVE + "Triton on 127"),
    "other shape": Fault(broken.module(broken.OtherShape), 4, GOLDEN),
    "not a number": Fault(broken.module(broken.NotANumber), 4, GOLDEN),
    "off by a little": Fault(broken.module(broken.OffByALittle), 4, GOLDEN),
    "wrong now and then": Fault(broken.module(broken.NowAndThen), 4, GOLDEN),
    "stuck at load": Fault(broken.module(broken.StuckAtLoad), 1, SERVE + LATE, LIMIT),
    "stuck at any question": Fault(broken.module(broken.StuckAtAnyQuestion), 1, SERVE + "Triton on 127", LIMIT),
    "stuck at goldens": Fault(broken.module(broken.StuckAtGoldens), 4, GOLDEN, LIMIT),
    "crashes at load": Fault(broken.module(broken.CrashesAtLoad), 1, SERVE),
    "crashes at goldens": Fault(broken.module(broken.CrashesAtGoldens), 4, GOLDEN),
}


@pytest.mark.parametrize("name", FAULTS)
def test_refused_before_anything_is_touched(place: between.Place, tmp_path: Path, name: str) -> None:
    """Rows 36, 39, 45, 46, 48, 49: refused with model and reason, no request fails, nothing of the candidate stays."""
    fault = FAULTS[name]
    place.start()
    place.project.edit("ready_timeout: 60", f"ready_timeout: {fault.limit}")
    before = standing(place)
    with place.clients() as flow, broken.planted(entry(place, place.new), fault.act, tmp_path / "good"):
        flow.proceed(10)
        began = time.monotonic()
        code, said, nonce = apply(place)
        seconds = time.monotonic() - began
        flow.proceed(10)
    assert code == fault.code, said
    assert f"error: {fault.says}" in said
    assert "Traceback" not in said
    assert seconds < fault.limit + LIMIT
    assert standing(place) == before
    assert [(command, result) for command, result, _ in place.history()] == [("apply", "failed")]
    assert place.history()[0][2].startswith(fault.says)
    assert between.processes(nonce) == []
    assert between.shared(nonce) == []
    assert flow.failed == []
    assert set(flow.counts) == {"old"}


def standing(place: between.Place) -> tuple[object, ...]:
    """Everything that a refused candidate must leave alone."""
    return (
        live.digest(place.project),
        live.pid(place.project),
        live.repository(place.project),
        (place.project.root / "pipeline.lock").read_bytes(),
        place.releases(),
    )


def entry(place: between.Place, side: between.Side) -> Path:
    """The store entry that a side is served from."""
    key = json.loads(side.lock)["models"]["tiny"]["versions"]["1"]["key"]
    return place.project.root / ".pipeline/store" / str(key)


def apply(place: between.Place) -> tuple[int, str, str]:
    """An apply's exit code, what it said, and the nonce of the server that it proved the model in."""
    record = place.project.root / ".pipeline/candidate/run/server.json"
    running = place.project.begin(*between.APPLY)
    nonce = "none"
    while running.poll() is None and nonce == "none":
        nonce = json.loads(between.read(record) or b'{"nonce": "none"}')["nonce"]
        time.sleep(0.01)
    return *between.ended(running), nonce


def test_a_mended_candidate_goes_live(place: between.Place, tmp_path: Path) -> None:
    """Refused, mended, applied: four clients over each protocol see old answers, then new ones, and no failure."""
    place.start()
    answers = {"old": place.old.outputs, "new": place.new.outputs}
    questions = live.clients(place.project, answers, place.questions, pause=between.PAUSE)
    with questions as flow:
        with broken.planted(entry(place, place.new), FAULTS["off by a little"].act, tmp_path / "good"):
            assert place.project.run(*between.APPLY).returncode == 4
        place.project.good(*between.APPLY)
        flow.proceed(50)
    place.check_whole(place.new)
    assert [result for _, result, _ in place.history()] == ["failed", "applied"]
    assert flow.failed == []
    assert set(flow.counts) == {"old", "new"}


@pytest.mark.parametrize("step", ["load", "verify", "commit"])
def test_what_fails_after_the_swap_is_undone(place: between.Place, step: str) -> None:
    """Rows 38, 39: exit 7, the old release is live by digest and golden, files as they were, no request failed."""
    place.start()
    before = standing(place)
    with place.clients() as flow:
        ended = place.project.run(*between.APPLY, PIPELINE_FAILPOINT=f"{step}:raise")
        flow.proceed(10)
    assert ended.returncode == 7, ended.stderr
    assert f"error: failpoint {step}; rolled back: what served before serves again" in ended.stderr
    assert standing(place) == before
    place.check_whole(place.old)
    assert [(command, result) for command, result, _ in place.history()] == [("apply", "rolled back")]
    assert flow.failed == []
    assert set(flow.counts) <= {"old", "new"}
    (place.project.root / "pipeline.yaml").write_text(place.old.spec)
    assert place.project.good("verify", "--json")


def test_a_damaged_release_is_not_gone_back_to(place: between.Place, tmp_path: Path) -> None:
    """Row 44: one bit of its artifact is flipped: the rollback is refused, exit 4, and the current release stays."""
    place.start()
    place.project.good(*between.APPLY)
    before, there = standing(place), entry(place, place.old)
    shutil.copytree(there, tmp_path / "good")
    try:
        path = there / broken.ARTIFACT
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)
        with place.clients() as flow:
            refused = place.project.run("rollback")
            flow.proceed(10)
    finally:
        for folder in (there, place.project.root / ".pipeline/quarantine"):
            if folder.exists():
                faults.discard(folder)
        shutil.copytree(tmp_path / "good", there)
    assert refused.returncode == 4
    assert "the store's files of tiny are damaged" in refused.stderr
    assert "model.pt" in refused.stderr
    assert standing(place) == before
    assert [(command, result) for command, result, _ in place.history()][1:] == [("rollback", "failed")]
    assert flow.failed == []
    assert set(flow.counts) == {"new"}
    place.project.good("rollback")
    assert live.digest(place.project) == place.old.digest


def theirs(made: project.Project) -> Path:
    """A model of someone else, that cannot be loaded, and somebody tries: the server is not ready any more."""
    folder = made.root / "model_repository/theirs"
    shutil.copytree(folder.with_name("tiny"), folder)
    (folder / "1/model.pt").write_bytes(b"no artifact")
    text = (folder / "config.pbtxt").read_text()
    (folder / "config.pbtxt").write_text(text.replace('"tiny"', '"theirs"').replace("pipeline_digest", "other"))
    client = triton.Client(port=made.ports[0])
    with pytest.raises(errors.PipelineError, match="failed to load"):
        client.load("theirs", timeout=60)
    return folder


def another_version(made: project.Project) -> Path:
    """A version that the spec does not have, and that cannot be loaded; the files are put back by hand."""
    folder = made.root / "model_repository/tiny"
    text = (folder / "config.pbtxt").read_text()
    shutil.copytree(folder / "1", folder / "2")
    (folder / "2/model.pt").write_bytes(b"no artifact")
    (folder / "config.pbtxt").write_text(text.replace("versions: 1", "versions: [1, 2]"))
    client = triton.Client(port=made.ports[0])
    with pytest.raises(errors.PipelineError, match="failed to load"):
        client.load("tiny", timeout=60)
    (folder / "config.pbtxt").write_text(text)
    shutil.rmtree(folder / "2")
    return folder / "2"


@pytest.mark.parametrize(("act", "told"), [(theirs, "theirs/1"), (another_version, "tiny/2")])
def test_a_failed_load_by_hand_is_told_and_mended(
    place: between.Place, act: Callable[[project.Project], Path], told: str
) -> None:
    """Row 40: a load that failed keeps the live server from being ready for good: drift, that `heal` mends."""
    place.start()
    (place.project.root / "pipeline.yaml").write_text(place.old.spec)
    client = triton.Client(port=place.project.ports[0])
    with place.clients() as flow:
        assert client.ready()
        folder = act(place.project)
        assert not client.ready()
        planned, status = place.project.run("plan"), place.project.run("status")
        assert planned.returncode == status.returncode == 2
        assert "-/+ server embedded  (needs a new server)" in planned.stdout
        assert f"readiness: the load of {told} failed -> ready" in planned.stdout
        assert "OutOfSync" in status.stdout
        place.project.good("heal")
        flow.proceed(10)
    assert client.ready()
    shutil.rmtree(folder, ignore_errors=True)
    assert place.project.good("plan").startswith("No changes.")
    place.check_whole(place.old)
    assert flow.failed == []
    assert set(flow.counts) == {"old"}
