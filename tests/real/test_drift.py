"""What is changed by hand, behind the pipeline's back: seen at once with its cause, and healed.

Clients ask meanwhile: where the drift itself leaves the model serving, none of their requests fails.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.core import errors
from pipeline.edges import triton
from tests import project
from tests.real import between, live

pytestmark = [pytest.mark.real, pytest.mark.alone]

_DAY = 86_400 * 10**9  # nanoseconds


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[project.Project]:
    """A project with two releases, the second live."""
    found = live.two_releases(tmp_path_factory.mktemp("drift") / "project")
    yield found
    found.good("down")


def tiny(made: project.Project) -> Path:
    """The model's folder."""
    return made.root / "model_repository/tiny"


def post(made: project.Project, path: str, **parameters: str) -> None:
    """What anyone can ask Triton for, past the pipeline."""
    connection = http.client.HTTPConnection("127.0.0.1", made.ports[0], timeout=60)
    with contextlib.closing(connection):
        body = json.dumps({"parameters": parameters} if parameters else {})
        connection.request("POST", f"/v2/repository/models/{path}", body)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()


def override(made: project.Project, **fields: Any) -> None:
    """Loads the model by hand with a live config that differs in these fields; the digest stays."""
    config = triton.Client(port=made.ports[0]).config("tiny")
    post(made, "tiny/load", config=json.dumps(config | fields))


def flip(made: project.Project) -> None:
    """One bit of a weight; size and mtime stay."""
    path = tiny(made) / "1/model.pt"
    about, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def edit(made: project.Project) -> None:
    """One field of the config."""
    path = tiny(made) / "config.pbtxt"
    path.write_text(path.read_text().replace("max_batch_size: 4", "max_batch_size: 9"))


def link(made: project.Project) -> None:
    """A weight moved away, with a symbolic link to it in its place."""
    path, away = tiny(made) / "1/model.pt", made.root / "moved.pt"
    path.replace(away)
    path.symlink_to(away)


def hardlink(made: project.Project) -> None:
    """A weight with a second name, through which it can be changed."""
    (made.root / "second.pt").unlink(missing_ok=True)
    (made.root / "second.pt").hardlink_to(tiny(made) / "1/model.pt")


def swap(made: project.Project) -> None:
    """The weights of two versions, each in the other's place."""
    first, second, third = (*(tiny(made) / name for name in ("1/model.pt", "2/model.pt")), made.root / "third.pt")
    first.rename(third)
    second.rename(first)
    third.rename(second)


def replace(made: project.Project) -> None:
    """The folder exchanged for a copy of itself: the same bytes and times (`cp -a`), that nobody has loaded."""
    copy = made.root / "copy"
    shutil.copytree(tiny(made), copy)
    shutil.rmtree(tiny(made))
    copy.rename(tiny(made))


def kill_server(made: project.Project) -> None:
    """The server's process ends without a word."""
    pid = live.pid(made)
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)


def kill_stub(made: project.Project) -> None:
    """The process in which version 2 computes ends: Triton goes on calling it READY."""
    stubs = [pid for pid in between.processes(str(tiny(made) / "2")) if pid != live.pid(made)]
    os.kill(stubs[-1], signal.SIGKILL)
    wait_gone(stubs[-1])


def wait_gone(pid: int) -> None:
    """Returns when a process has ended."""
    deadline = time.monotonic() + 10
    while between.read(Path(f"/proc/{pid}/cmdline")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Drift(NamedTuple):
    """What is done, what `plan` says of it (digests as stars) and `status`; whether the model serves on till healed."""

    act: Callable[[project.Project], object]
    plan: str
    health: str = "Healthy"
    serves: bool = True
    seconds: float = 5.0
    note: str = ""


FILE = """\
  ~ model tiny  (needs a file swap)
        {}
  ~ live model tiny  (needs a model load)
"""
LIVE = """\
  ~ live model tiny  (needs a model load)
        {}
"""
UNLOADED = """\
  + live model tiny  (needs a model load)
        state: not ready -> ready
"""
NO_CONFIG = """\
  + model tiny  (needs a file swap)
  ~ live model tiny  (needs a model load)
"""
NOT_OURS = "Note: tiny/ in the repository has no config of the pipeline's"

DRIFTS = {
    "config edited": Drift(edit, FILE.format("config.pbtxt: max_batch_size: 9 -> 4")),
    "config overwritten": Drift(
        lambda made: (tiny(made) / "config.pbtxt").write_text("junk"), NO_CONFIG, note=NOT_OURS
    ),
    "config removed": Drift(lambda made: (tiny(made) / "config.pbtxt").unlink(), NO_CONFIG, note=NOT_OURS),
    "bit flipped": Drift(flip, FILE.format("1/model.pt: * -> *")),
    "file added": Drift(lambda made: (tiny(made) / "1/notes").write_text("x"), FILE.format("1/notes: * -> (none)")),
    "file removed": Drift(
        lambda made: (tiny(made) / "2/model.pt").unlink(),
        FILE.format("2: folder -> (none)\n        2/model.pt: (none) -> *"),
    ),
    "files swapped": Drift(swap, FILE.format("1/model.pt: * -> *\n        2/model.pt: * -> *")),
    "file not readable": Drift(
        lambda made: (tiny(made) / "1/model.pt").chmod(0), FILE.format("1/model.pt: unreadable -> *")
    ),
    "file linked": Drift(link, FILE.format("1/model.pt: link -> *")),
    "file with a second name": Drift(hardlink, FILE.format("1/model.pt: hardlink -> *")),
    "folder replaced": Drift(replace, LIVE.format("files: replaced after the load -> loaded")),
    "folder removed": Drift(
        lambda made: shutil.rmtree(tiny(made)), "  + model tiny  (needs a file swap)\n" + UNLOADED, health="Missing"
    ),
    "repository removed": Drift(
        lambda made: shutil.rmtree(tiny(made).parent),
        "  + model tiny  (needs a file swap)\n" + UNLOADED,
        health="Missing",
    ),
    "model unloaded": Drift(lambda made: post(made, "tiny/unload"), UNLOADED, health="Missing", serves=False),
    "other versions loaded": Drift(
        lambda made: override(made, version_policy={"specific": {"versions": [1]}}),
        LIVE.format("versions: [1] -> [1,2]\n        config.pbtxt: version_policy.specific.versions: [1] -> [1,2]"),
    ),
    "other config loaded": Drift(
        lambda made: override(made, dynamic_batching={"max_queue_delay_microseconds": 77}),
        LIVE.format(
            'config.pbtxt: dynamic_batching: {"preferred_batch_size":[4],"max_queue_delay_microseconds":77} -> (none)'
        ),
    ),
    "stub killed": Drift(kill_stub, LIVE.format("process: version 2: 1 of 1 ended -> runs"), health="Degraded"),
    "server killed": Drift(
        kill_server,
        "  + server embedded  (needs a new server)\n        process: ended -> runs\n",
        health="Missing",
        serves=False,
    ),
    "server stopped": Drift(
        lambda made: os.kill(live.pid(made), signal.SIGSTOP),
        "-/+ server embedded  (needs a new server)\n        process: runs and does not answer -> answers\n",
        health="Missing",
        serves=False,
        seconds=15.0,
    ),
}


SLOW = {"server stopped": pytest.mark.full}
"""A server that does not answer is waited for, again and again."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in DRIFTS])
def test_drift_is_seen_and_healed(made: project.Project, name: str) -> None:
    """Rows 33, 37, 57 and 67: `plan` exits 2 with the cause, in no time of its own; `heal` repairs it unheard."""
    drift = DRIFTS[name]
    locked = live.lock(made)
    questions, answers = live.golden(made, locked, version="1")
    flow = live.clients(
        made, {"same": answers}, questions, version=1, http_clients=1, grpc_clients=1, pause=between.PAUSE
    )
    with flow if drift.serves else contextlib.nullcontext():
        drift.act(made)
        check_seen(made, drift)
        made.good("heal")
        if drift.serves:
            flow.proceed(10)
    assert made.good("plan").startswith("No changes.")
    assert live.digest(made) == locked["models"]["tiny"]["digest"]
    made.good("verify")
    assert flow.failed == []
    assert set(flow.counts) == ({"same"} if drift.serves else set())


def check_seen(made: project.Project, drift: Drift) -> None:
    """The plan tells the drift and nothing else, as text and as data; so does the status."""
    before, began = processor(), time.monotonic()
    planned = made.run("plan", "--out", "plan.json")
    assert processor() - before < 1, "seconds of planning, whatever else the machine does"
    assert time.monotonic() - began < drift.seconds
    assert planned.returncode == 2, planned.stderr
    notes, _, rest = planned.stdout.partition("Changed outside the pipeline:\n\n")
    assert notes.startswith(drift.note)
    assert bool(notes) == bool(drift.note)
    told, _, last = re.sub(r"\b[0-9a-f]{12}\b", "*", rest).partition("\nPlan: ")
    assert told == drift.plan
    assert last.count("\n") == 1
    changes = json.loads((made.root / "plan.json").read_text())["changes"]
    assert changes
    assert all(change["drift"] for change in changes)
    status = made.run("status", "--json")
    assert status.returncode == 2
    rows = [(row["model"], row["sync"], row["health"]) for row in json.loads(status.stdout)["models"]]
    assert rows == [("tiny", "OutOfSync", drift.health)]


def processor() -> float:
    """Seconds of processor time that ended children have used."""
    times = os.times()
    return times.children_user + times.children_system


def test_a_model_of_someone_else_is_unloaded_and_stays(made: project.Project) -> None:
    """A foreign model that somebody loaded is drift; healing unloads it, and leaves its files alone."""
    theirs = tiny(made).with_name("theirs")
    shutil.copytree(tiny(made), theirs)
    config = (theirs / "config.pbtxt").read_text().replace('"tiny"', '"theirs"').replace("pipeline_digest", "other")
    (theirs / "config.pbtxt").write_text(config)
    before = {path: path.read_bytes() for path in theirs.rglob("*") if path.is_file()}
    try:
        post(made, "theirs/load")
        planned = made.run("plan")
        assert planned.returncode == 2
        assert "theirs will not be served any more: its clients will fail" in planned.stdout
        assert "Changed outside the pipeline:\n\n  - live model theirs\n\nPlan: " in planned.stdout
        made.good("heal")
        assert made.good("plan").splitlines()[-1].startswith("No changes.")
        assert "theirs" not in triton.Client(port=made.ports[0]).ready_versions()
        assert {path: path.read_bytes() for path in theirs.rglob("*") if path.is_file()} == before
    finally:
        shutil.rmtree(theirs)


def test_a_link_in_a_model_s_place_is_not_followed(made: project.Project) -> None:
    """A model's folder that is a link now is nobody's to replace: the refusal says what to do, nothing is touched."""
    away = made.root / "away"
    tiny(made).rename(away)
    tiny(made).symlink_to(away)
    before = {path: path.stat() for path in away.rglob("*")}
    assert made.run("plan").returncode == 2
    refused = made.run("heal")
    assert refused.returncode == 1
    assert "was not made by the pipeline" in refused.stderr
    assert "Move it out" in refused.stderr
    assert {path: path.stat() for path in away.rglob("*")} == before
    tiny(made).unlink()
    made.good("heal")
    assert made.good("plan").startswith("No changes.")
    shutil.rmtree(away)


def test_a_half_copied_model_is_not_there(made: project.Project) -> None:
    """Row 35: what a run copies bears a name under which Triton does not serve it, though it be asked to, half or
    whole; for the plan it is nothing, and the next run sweeps it away."""
    half = tiny(made).with_name(".pipeline-0123456789abcdef.tmp")
    client = triton.Client(port=made.ports[0])
    shutil.copytree(tiny(made), half)
    for file in ("2/model.pt", "1/model.pt"):
        assert {each.name for each in client.index() if each.state == "READY"} == {"tiny"}
        with pytest.raises(errors.PipelineError, match="failed to load"):
            client.load(half.name, timeout=60)
        (half / file).unlink()
    assert made.good("plan").startswith("No changes.")
    made.good("heal")
    assert not half.exists()
    made.good("verify")


def times(made: project.Project, moment: int) -> None:
    """The folder of the model that is loaded bears these times, and was loaded again with them."""
    for path in (tiny(made), *tiny(made).rglob("*")):
        os.utime(path, ns=(moment, moment))
    post(made, "tiny/load")


def forgotten(made: project.Project) -> None:
    """Triton has seen the model in a time to come, which its files bear no more."""
    times(made, time.time_ns() + 9 * 365 * _DAY)
    for path in (tiny(made), *tiny(made).rglob("*")):
        os.utime(path, ns=(0, 0))


TRAPS: dict[str, Callable[[project.Project], None]] = {
    "no mtime": lambda made: times(made, 0),
    "a clock that is set back by a day": lambda made: times(made, time.time_ns() + _DAY),
    "copied with its times": replace,
    "a time to come that is lost": forgotten,
}


@pytest.mark.parametrize("name", TRAPS)
def test_times_do_not_keep_a_release_from_going_live(place: between.Place, name: str) -> None:
    """Row 37: whatever times the files bear, digest and answers change each time that a release does."""
    place.start()
    for side, words in ((place.new, between.APPLY), (place.old, ("rollback",))):
        TRAPS[name](place.project)
        place.project.good(*words)
        assert live.digest(place.project) == side.digest
        assert place.project.good("heal").startswith("No changes.")
    (place.project.root / "pipeline.yaml").write_text(place.old.spec)
    (place.project.root / "pipeline.lock").write_bytes(place.old.lock)
    place.project.good("verify")


def test_an_older_lock_needs_a_word(made: project.Project) -> None:
    """Row 68: spec and lock of an older release, as a revert in git leaves them, are named and refused, and go with
    the word."""
    texts = {path: path.read_text() for path in (made.root / "pipeline.yaml", made.root / "pipeline.lock")}
    old = live.release_lock(made, 1)
    text = next(iter((made.root / ".pipeline/releases").glob("*1/pipeline.lock"))).read_text()
    try:
        made.edit(*reversed(live.OTHER))
        (made.root / "pipeline.lock").write_text(text)
        planned = made.run("plan")
        assert planned.returncode == 2
        assert "This is release 1, older than the one that was applied last" in planned.stdout
        refused = made.run("apply")
        assert refused.returncode == 1
        assert "--allow-rollback" in refused.stderr
        assert live.digest(made) == live.release_lock(made, 2)["models"]["tiny"]["digest"]
        made.good("apply", "--allow-rollback")
        assert live.digest(made) == old["models"]["tiny"]["digest"]
    finally:
        for path, before in texts.items():
            path.write_text(before)
        made.good("apply")


def test_an_empty_spec_removes_nothing_without_a_word(made: project.Project) -> None:
    """Row 66: a spec without models would take every one away: it is refused, and with the word only ours go."""
    path, lock = made.root / "pipeline.yaml", made.root / "pipeline.lock"
    text, locked = path.read_text(), lock.read_text()
    theirs, file = tiny(made).with_name("theirs"), made.root / ".pipeline/theirs"
    theirs.mkdir()
    (theirs / "config.pbtxt").write_text('name: "theirs"\n')
    file.write_text("mine")
    try:
        path.write_text(text[: text.index("models:")] + "models: {}\n")
        refused = made.run("apply")
        assert refused.returncode == 1
        assert "--remove-all" in refused.stderr
        assert made.run("assemble").returncode == 1
        assert made.good("heal").splitlines()[-1].startswith("No changes.")
        made.good("apply", "--remove-all")
        assert not tiny(made).exists()
        assert triton.Client(port=made.ports[0]).ready_versions() == {}
        path.write_text(text)
        made.good("rollback")
        assert (theirs / "config.pbtxt").read_text() == 'name: "theirs"\n'
        assert file.read_text() == "mine"
    finally:
        path.write_text(text)
        lock.write_text(locked)
        shutil.rmtree(theirs)
        file.unlink()
    made.good("apply")
    made.good("verify")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGTERM])
def test_a_server_that_crashes_is_started_once(tmp_path: Path, number: signal.Signals) -> None:
    """Row 55: a server that ends while it starts, by a crash or quietly, fails `serve` with its last words."""
    made = project.make(tmp_path / "project")
    made.build()
    made.good("assemble")
    running = made.begin("serve")
    record = made.root / ".pipeline/run/server.json"
    between.wait(running, lambda: record.exists() and live.pid(made) > 0)
    pid = live.pid(made)
    log = made.root / ".pipeline/run/server.log"
    between.wait(running, lambda: b"tiny" in between.read(log))
    os.kill(pid, number)
    code, said = between.ended(running)
    assert code == 1
    assert "Triton ended while it started" in said
    assert said.count("started Triton") == 1
    assert "server.log" in said
    assert "Traceback" not in said
    assert between.processes(str(made.root)) == []
    assert not record.exists()
