"""A live apply is interrupted by a signal, or loses its server: the run ends at once, and all is as before."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.real import between, live

pytestmark = [pytest.mark.real, pytest.mark.alone]


@pytest.mark.parametrize(
    ("number", "step"),
    [(signal.SIGINT, "export"), (signal.SIGTERM, "load"), (signal.SIGHUP, "verify"), (signal.SIGTERM, "commit")],
)
def test_signal_between_steps(place: between.Place, number: signal.Signals, step: str) -> None:
    """Row 24: exit 130, server, files and releases as before, no request failed."""
    place.start()
    with place.clients() as flow:
        running = place.project.begin(*between.APPLY, PIPELINE_FAILPOINT=f"{step}:sleep=60")
        place.wait(running, step)
        running.send_signal(number)
        code, said = between.ended(running, 20)
        flow.proceed(10)
    assert code == 130, said
    assert "Traceback" not in said
    place.check_whole(place.old)
    (place.project.root / "pipeline.yaml").write_text(place.old.spec)
    assert place.project.run("plan").returncode == 0
    assert flow.failed == []
    assert set(flow.counts) <= {"old", "new"}


def test_signal_while_a_candidate_runs(place: between.Place) -> None:
    """Row 24: Ctrl-C while models are proven ends their server too, with all that is its own."""
    place.start()
    candidate = place.project.root / ".pipeline/candidate/run/server.json"
    running = place.project.begin(*between.APPLY)
    between.wait(running, lambda: json.loads(between.read(candidate) or b'{"pid": 0}')["pid"] > 0)
    nonce = json.loads(candidate.read_bytes())["nonce"]
    between.wait(running, lambda: between.shared(nonce) != [])
    running.send_signal(signal.SIGINT)
    code, said = between.ended(running, 20)
    assert code == 130, said
    assert between.processes(nonce) == []
    assert between.shared(nonce) == []
    place.check_whole(place.old)


def test_signal_while_the_live_server_loads(place: between.Place) -> None:
    """Row 24: Ctrl-C in the middle of a load: the old model is loaded again, no request fails."""
    place.start()
    with place.clients() as flow:
        running = place.project.begin(*between.APPLY)
        place.wait(running, "load")
        time.sleep(0.3)  # the load takes longer: torch is imported in a new process
        running.send_signal(signal.SIGINT)
        code, said = between.ended(running, 30)
        flow.proceed(10)
    assert code == 130, said
    place.check_whole(place.old)
    assert flow.failed == []


def test_second_signal_ends_at_once(place: between.Place) -> None:
    """Row 24: a second Ctrl-C, while the first one's undo is at work, ends the run; the next run finishes the undo."""
    place.start()
    with place.clients() as flow:
        running = place.project.begin(*between.APPLY, PIPELINE_FAILPOINT="verify:sleep=60")
        place.wait(running, "verify")
        running.send_signal(signal.SIGINT)
        between.wait(running, lambda: live.repository(place.project) == place.old.repository)
        running.send_signal(signal.SIGINT)
        began = time.monotonic()
        code, said = between.ended(running, 20)
        assert time.monotonic() - began < 1
        assert code == 130, said
        assert "Traceback" not in said
        assert "interrupted again, before everything was as it had been" in said
        assert "`heal` restores" in said
        place.check_old_or_new()
        healed = place.project.run("heal")
        assert healed.returncode == 0, healed.stderr
        flow.proceed(10)
    place.check_whole(place.old)
    assert [result for _, result, _ in place.history()] == ["interrupted", "applied"]
    assert flow.failed == []


def test_server_killed_while_it_loads(place: between.Place) -> None:
    """Row 39: the connection breaks off half-way through a load, since the server is gone: the old release is put back
    on a new server, proven, and the run says so."""
    place.start()
    before = live.pid(place.project)
    log = place.project.root / ".pipeline/run/server.log"
    size = log.stat().st_size
    running = place.project.begin(*between.APPLY)
    place.wait(running, "load")
    between.wait(running, lambda: b"loading: tiny" in between.read(log)[size:])
    os.kill(before, signal.SIGKILL)
    code, said = between.ended(running)
    assert code == 7, said
    assert "rolled back: what served before serves again" in said
    assert "Traceback" not in said
    assert live.pid(place.project) != before
    place.check_whole(place.old)
    assert [result for _, result, _ in place.history()] == ["rolled back"]


def test_server_killed_before_the_commit(place: between.Place) -> None:
    """Row 56: verified, then the server is killed before the release is written: the next plan tells, apply mends."""
    place.start()
    running = place.project.begin(*between.APPLY, PIPELINE_FAILPOINT="commit:sleep=2")
    place.wait(running, "commit")
    os.kill(live.pid(place.project), signal.SIGKILL)
    between.ended(running)
    planned = place.project.run("plan")
    assert planned.returncode == 2, planned.stdout
    assert "process: ended -> runs" in planned.stdout
    again = place.project.run(*between.APPLY)
    assert again.returncode == 0, again.stderr
    place.check_whole(place.new)
