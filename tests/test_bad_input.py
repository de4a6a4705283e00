"""Whole commands on what a person got wrong, or a disk: exit code, place and reason, no traceback, nothing touched."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import faults, many

SPECS = Path(__file__).parent / "specs/bad"
COMMANDS = ("validate", "plan", "export", "lock", "assemble", "serve", "verify", "apply", "status")


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder, as a person runs it; it never takes long to say no."""
    command = [sys.executable, "-m", "pipeline", *words]
    environment = faults.environment({"PIPELINE_TORCH_PYTHON": sys.executable, **variables})
    before = os.times()
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used < 1.5, "a second, and what Python takes to start"
    assert "Traceback" not in ended.stdout + ended.stderr
    return ended


@pytest.mark.parametrize(("name", "command"), [*(("names", each) for each in COMMANDS), ("duplicates", "validate")])
def test_a_bad_spec(tmp_path: Path, name: str, command: str) -> None:
    """Rows 2 and 5: exit 3 with file and line, as text and as data; not one file is made or changed."""
    (tmp_path / "pipeline.yaml").write_bytes((SPECS / f"{name}.yaml").read_bytes())
    before = faults.contents(tmp_path)
    ended = run(tmp_path, command, "--json")
    assert ended.returncode == 3
    place, _, rest = (SPECS / f"{name}.expected.txt").read_text().splitlines()[0].partition(" ")
    assert f"pipeline.yaml:{place}" in ended.stderr
    assert json.loads(ended.stdout)["findings"][0]["rule"] == rest.split()[0]
    assert faults.contents(tmp_path) == before


@pytest.mark.parametrize("command", ["plan", "assemble", "apply", "verify"])
def test_a_wrong_folder(tmp_path: Path, command: str) -> None:
    """Row 66: where there is no spec nothing is made, nothing is removed, and it is said."""
    (tmp_path / "model_repository/theirs").mkdir(parents=True)
    (tmp_path / "model_repository/theirs/config.pbtxt").write_text("theirs")
    before = sorted(tmp_path.rglob("*"))
    ended = run(tmp_path, command)
    assert ended.returncode == 3
    assert "there is no pipeline.yaml" in ended.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two models in sync on disk, and no server."""
    root = tmp_path_factory.mktemp("damaged") / "project"
    many.make(root, 2)
    assert run(root, "assemble").returncode == 0
    return root


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda text: b"",
    "cut": lambda text: text[: len(text) // 2],
    "garbage": lambda text: bytes(range(256)) * 8,
    "a bit flipped": lambda text: text[:40] + bytes([text[40] ^ 1]) + text[41:],
    "a later format": lambda text: text.replace(b'"format": 2', b'"format": 99'),
    "another kind of document": lambda text: b"[]\n",
}


@pytest.mark.parametrize(
    ("name", "command"), [*((each, "assemble") for each in DAMAGE), ("cut", "plan"), ("cut", "status")]
)
def test_a_damaged_lock(project: Path, name: str, command: str) -> None:
    """Row 31: a lock that is not as it was written is refused with its name; nothing is made of it, nor over it."""
    path = project / "pipeline.lock"
    whole = path.read_bytes()
    try:
        path.write_bytes(DAMAGE[name](whole))
        before = faults.contents(project, without=(".pipeline/digests.json",))
        ended = run(project, command)
        assert ended.returncode in {1, 4}, ended.stdout + ended.stderr
        assert "pipeline.lock" in ended.stderr
        assert "hint" in ended.stderr
        assert faults.contents(project, without=(".pipeline/digests.json",)) == before
    finally:
        path.write_bytes(whole)


RECORD = b"""{"format": 1, "nonce": "0123456789abcdef0123456789abcdef", "fingerprint": "x", "stop_timeout": 1.0,
"ports": {"http": 1, "grpc": 2, "metrics": 3}, "pid": 1, "started": 1}
"""


@pytest.mark.parametrize(
    ("name", "command"),
    [("empty", "down"), ("cut", "plan"), ("garbage", "status"), ("another kind of document", "plan")],
)
def test_a_damaged_record_of_the_server(project: Path, name: str, command: str) -> None:
    """Row 31: a record from which nobody can tell which process is ours is refused with its name, and stays."""
    path = project / ".pipeline/run/server.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(DAMAGE[name](RECORD))
    try:
        ended = run(project, command)
        assert ended.returncode == 1, ended.stdout + ended.stderr
        assert "server.json is damaged" in ended.stderr
        assert "then remove the file" in ended.stderr
        assert path.read_bytes() == DAMAGE[name](RECORD)
    finally:
        path.unlink()


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe"])
def test_a_damaged_journal(project: Path, text: bytes) -> None:
    """Rows 27 and 31: a torn journal tells that a run has died, and no more; the next one goes on without it."""
    path = project / ".pipeline/journal.json"
    path.write_bytes(text)
    before = faults.contents(project / "model_repository")
    ended = run(project, "assemble")
    assert ended.returncode == 0, ended.stderr
    assert "died at the step" in ended.stderr
    assert not path.exists()
    assert faults.contents(project / "model_repository") == before
    assert "died" not in run(project, "assemble").stderr


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "EST5EDT,M3.2.0,M11.1.0", "nowhere"])
def test_moments_are_of_no_zone(project: Path, zone: str) -> None:
    """Row 65: whatever the time zone and its summer time, moments are written in UTC, and the lock has none."""
    lock = (project / "pipeline.lock").read_bytes()
    killed = run(project, "assemble", PIPELINE_FAILPOINT="assemble:kill", TZ=zone)
    assert killed.returncode == -signal.SIGKILL
    starts = [json.loads((project / ".pipeline" / name).read_bytes())["start"] for name in ("journal.json", "writer")]
    now = dt.datetime.now(dt.UTC)
    for start in starts:
        assert now - dt.timedelta(minutes=5) < dt.datetime.fromisoformat(start) <= now
    again = run(project, "assemble", TZ=zone)
    assert again.returncode == 0
    assert starts[0] in again.stderr
    assert (project / "pipeline.lock").read_bytes() == lock
