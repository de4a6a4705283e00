"""A live apply is killed at every step: server, files and lock are old or new, no request fails, and the next run
ends where an undisturbed one does."""

from __future__ import annotations

import collections
import json
import re
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline import reconcile
from tests import faults, project
from tests.real import between, live

pytestmark = [pytest.mark.real, pytest.mark.alone]
BEFORE_SWAP = {"plan", "fetch", "export", "prove", "assemble"}
"""Failpoints at which nothing was changed yet."""


class Call(NamedTuple):
    """One system call of an apply, as strace counts it: within its kind, in the main thread."""

    kind: str
    number: int
    line: str


@pytest.mark.parametrize("name", reconcile.FAILPOINTS)
def test_kill_at_every_failpoint(place: between.Place, name: str) -> None:
    """Row 23: killed there, old or new serves on; the next apply names the step, and ends as an undisturbed one."""
    place.start()
    with place.clients() as flow:
        killed = place.project.run(*between.APPLY, PIPELINE_FAILPOINT=f"{name}:kill")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        place.check_old_or_new()
        if name in BEFORE_SWAP:
            assert live.repository(place.project) == place.old.repository
        flow.proceed(10)
        again = place.project.run(*between.APPLY)
        assert again.returncode == 0, again.stderr
        flow.proceed(10)
    assert "The previous run died (pid " in again.stderr
    assert f"died at the step `{name}`" in again.stderr
    place.check_whole(place.new)
    entries = [("apply", "interrupted", f"died at the step {name}"), ("apply", "applied", "")]
    assert place.history() == (entries[::-1] if name == "committed" else entries)
    assert flow.failed == []
    assert set(flow.counts) == {"old", "new"}


def test_failpoints_are_listed(place: between.Place) -> None:
    """The hidden command lists every failpoint, so that this sweep forgets none."""
    listed = json.loads(place.project.good("failpoints", "--json"))
    assert list(listed) == list(reconcile.FAILPOINTS)


@pytest.mark.parametrize("name", ["assemble", "load", "verify", "commit"])
def test_heal_after_a_kill(place: between.Place, name: str) -> None:
    """Killed before the commit, `heal` brings back what was applied before: server, files, releases."""
    place.start()
    with place.clients() as flow:
        killed = place.project.run(*between.APPLY, PIPELINE_FAILPOINT=f"{name}:kill")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        healed = place.project.run("heal")
        assert healed.returncode == 0, healed.stderr
        flow.proceed(10)
    place.check_whole(place.old)
    assert place.history()[0] == ("apply", "interrupted", f"died at the step {name}")
    assert flow.failed == []
    assert set(flow.counts) <= {"old", "new"}


def test_killed_while_a_candidate_runs(place: between.Place) -> None:
    """A server in which models are proven outlives a kill: the next run ends it, if it does nothing else."""
    place.start()
    candidate = place.project.root / ".pipeline/candidate/run/server.json"
    running = place.project.begin(*between.APPLY)
    between.wait(running, lambda: json.loads(between.read(candidate) or b'{"pid": 0}')["pid"] > 0)
    nonce = json.loads(candidate.read_bytes())["nonce"]
    between.wait(running, lambda: between.shared(nonce) != [])
    running.kill()
    between.ended(running)
    assert between.processes(nonce) != []
    place.project.good("heal")
    assert between.processes(nonce) == []
    assert between.shared(nonce) == []
    (place.project.root / "pipeline.yaml").write_text(place.old.spec)
    assert place.project.run("plan").returncode == 0
    place.check_whole(place.old)


def test_first_apply_killed_again_and_again(tmp_path: Path) -> None:
    """Where nothing was live before: killed while the server starts, and when it runs; one server, one release."""
    made = project.make(tmp_path / "project", between.SPEC)
    made.build()
    record = made.root / ".pipeline/run/server.json"
    try:
        running = made.begin("apply")
        between.wait(running, lambda: json.loads(between.read(record) or b'{"pid": 0}')["pid"] > 0)
        running.kill()
        between.ended(running)
        first = live.pid(made)
        killed = made.run("apply", PIPELINE_FAILPOINT="verify:kill")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert live.pid(made) != first, "a server that was never seen to answer is not trusted"
        second = live.pid(made)
        again = made.run("apply")
        assert again.returncode == 0, again.stderr
        assert "died at the step `verify`" in again.stderr
        assert live.pid(made) == second
        assert between.processes(str(made.root)) == between.processes(json.loads(record.read_bytes())["nonce"])
        assert made.run("plan").returncode == 0
        results = [each["result"] for each in json.loads(made.good("history", "--json"))["entries"]]
        assert results == ["interrupted", "interrupted", "applied"]
        assert faults.leftovers(made.root) == []
    finally:
        made.good("down")
    assert between.processes(str(made.root)) == []


def traced(place: between.Place, log: Path) -> list[Call]:
    """Every call of an undisturbed apply that changes a file of the project, in their order."""
    place.start()
    tracer = ["strace", "-qq", "-y", "-o", str(log), "-e", f"trace={faults.CHANGING}"]
    done = place.project.under(tracer, *between.APPLY)
    assert done.returncode == 0, done.stderr
    counts: collections.Counter[str] = collections.Counter()
    calls = []
    for line in log.read_text(errors="replace").splitlines():
        found = re.match(r"(\w+)\(", line)
        if found:
            counts[found[1]] += 1
        if found and str(place.project.root) in line:
            calls.append(Call(found[1], counts[found[1]], line))
    return calls


def kill(place: between.Place, call: Call) -> bool:
    """Kills an apply at one call, looks at what is left, and lets the next one end. Whether it got to the call: the
    record of digests is written or not as the clock has it."""
    place.start()
    inject = f"inject={call.kind}:signal=KILL:when={call.number}"
    tracer = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call.kind}", "-e", inject]
    try:
        killed = place.project.under(tracer, *between.APPLY)
        assert killed.returncode in {-signal.SIGKILL, 0}
        place.check_old_or_new()
        again = place.project.run(*between.APPLY)
        assert again.returncode == 0, again.stderr
        place.check_whole(place.new)
    except AssertionError as error:
        error.add_note(f"killed at {call}")
        raise
    return killed.returncode != 0


def test_kill_sampled(place: between.Place, tmp_path: Path) -> None:
    """Row 22, live: killed at a sample of the calls that change a file, from the first journal to the last release."""
    calls = traced(place, tmp_path / "log")
    assert len(calls) > 80
    exchange = next(at for at, call in enumerate(calls) if call.kind == "renameat2")
    renames = [at for at, call in enumerate(calls) if call.kind == "rename"]
    places = (renames[2], exchange, exchange + 1, renames[-4], renames[-2])
    assert [kill(place, calls[at]) for at in places] == [True] * len(places)


@pytest.mark.full
def test_kill_at_every_call(place: between.Place, tmp_path: Path) -> None:
    """Row 22, live and complete: every call of apply that changes a file of the project."""
    calls = traced(place, tmp_path / "log")
    hurt = [kill(place, call) for call in calls]
    assert hurt.count(True) > 0.9 * len(calls)


def test_order_of_a_live_swap(place: between.Place, tmp_path: Path) -> None:
    """Row 25: whatever an apply renames into its place was synced before, and the folder of its name after."""
    log = tmp_path / "log"
    place.start()
    tracer = ["strace", "-f", "-qq", "-y", "-o", str(log), "-e", "trace=fsync,rename,renameat2"]
    assert place.project.under(tracer, *between.APPLY).returncode == 0
    lines = [found for line in log.read_text().splitlines() if str(place.project.root) in line
             and (found := re.sub(r"^\d+ +", "", line))]  # fmt: skip
    targets = set()
    for at, line in enumerate(lines):
        if not line.startswith("rename"):
            continue
        moved, target = (Path(name) for name in re.findall(r'"([^"]+)"', line)[:2])
        if target.name.startswith(".pipeline-"):
            continue  # on its way out
        synced = set(re.findall(r"fsync\(\d+<([^>]+)>", "\n".join(lines[:at])))
        assert str(moved) in synced, line
        assert f"fsync({target.parent}>" in re.sub(r"\d+<", "", lines[at + 1]), lines[at : at + 2]
        targets.add(target.relative_to(place.project.root).as_posix())
    assert {
        "model_repository/tiny",
        "pipeline.lock",
        ".pipeline/releases/2",
        ".pipeline/releases/history.json",
    } <= targets


def test_a_failing_commit_is_undone(place: between.Place, tmp_path: Path) -> None:
    """Where the disk takes the new lock and then no history, all is as before, the lock too: exit 7."""
    calls = traced(place, tmp_path / "log")
    call = next(call for call in calls if call.kind == "rename" and call.line.endswith('history.json") = 0'))
    place.start()
    inject = f"inject=rename:error=EROFS:when={call.number}"
    tracer = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=rename", "-e", inject]
    failed = place.project.under(tracer, *between.APPLY)
    assert failed.returncode == 7, failed.stderr
    assert "history.json: Read-only file system" in failed.stderr
    place.project.good("heal")  # nothing to do, but to sweep the release that no history knows
    place.check_whole(place.old)
    assert [result for _, result, _ in place.history()] == ["rolled back"]
