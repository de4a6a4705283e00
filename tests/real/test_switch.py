"""A live server moved between releases under traffic: no request fails, and every answer is the old or the new one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.edges import triton
from tests import project
from tests.real import live, switching

pytestmark = [pytest.mark.real, pytest.mark.alone]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[project.Project]:
    """A project with two releases, the second live."""
    found = live.two_releases(tmp_path_factory.mktemp("switch") / "project")
    yield found
    found.good("down")


def test_back_and_forth_under_traffic(made: project.Project) -> None:
    """Rollback and apply, twice each, with clients over both protocols (rows 41, 43)."""
    switching.back_and_forth(made, rounds=2)


@pytest.mark.full
def test_forty_switches_of_minilm(tmp_path: Path) -> None:
    """Twenty times forward, twenty times back, with real weights: the second release does not normalize."""
    made = project.make(tmp_path / "project", spec=project.minilm())
    made.good("apply")
    try:
        made.edit("normalize: true", "normalize: false")
        made.good("apply", "--accept-goldens")
        switching.back_and_forth(made, rounds=20, model="minilm", version="1", count=40)
    finally:
        made.good("down")


EDITS = {
    "instance_group": ("    version_policy:", "    config: {instance_group: [{count: 2}]}\n    version_policy:"),
    "dynamic_batching": ("    version_policy:", "    config: {dynamic_batching: {}}\n    version_policy:"),
}


@pytest.mark.parametrize("name", EDITS)
def test_config_changes_under_traffic(made: project.Project, name: str) -> None:
    """A change of the config alone is a load: nothing is exported, no request fails, the process stays."""
    questions, answers = live.golden(made, live.lock(made))
    before, text = live.nonce(made), (made.root / "pipeline.yaml").read_text()
    with live.clients(made, {"same": answers}, questions) as flow:
        made.edit(*EDITS[name])
        ended = made.run("apply")
        assert ended.returncode == 0, ended.stderr
        assert "exporting" not in ended.stderr
        flow.proceed(50)
        (made.root / "pipeline.yaml").write_text(text)
        made.good("rollback", "2")
        flow.proceed(50)
    assert flow.failed == []
    assert set(flow.counts) == {"same"}
    assert live.nonce(made) == before


def test_versions_come_and_go_under_latest(tmp_path: Path) -> None:
    """Under `latest: 2` a version is added and removed while clients ask for the newest: none fails (row 42)."""
    made = project.make(tmp_path / "project")
    made.edit("version_policy: {specific: [1, 2]}", "version_policy: {latest: 2}")
    made.good("apply")
    try:
        first = live.lock(made)
        made.edit("seed: 1}}}\n", "seed: 1}}}\n      3: {source: {factory: {seed: 2}}}\n")
        made.good("export")
        questions, two = live.golden(made, first, version="2")
        three = live.golden(made, live.lock(made), version="3")[1]
        text = (made.root / "pipeline.yaml").read_text()
        without = text.replace("      3: {source: {factory: {seed: 2}}}\n", "")
        with (
            live.clients(made, {"two": two, "three": three}, questions) as newest,
            live.clients(made, {"two": two}, questions, version=2) as pinned,
        ):
            made.good("apply")
            newest.proceed(50)
            pinned.proceed(50)
            (made.root / "pipeline.yaml").write_text(without)
            made.good("apply", "--allow-rollback")
            newest.proceed(50)
        assert newest.failed == []
        assert set(newest.counts) == {"two", "three"}
        assert pinned.failed == []
        assert set(pinned.counts) == {"two"}
    finally:
        made.good("down")


def test_another_server_takes_over_under_traffic(made: project.Project) -> None:
    """What only a new server can change: it is started beside the old one, proven, and takes over the same ports."""
    questions, answers = live.golden(made, live.lock(made))
    before, text = live.nonce(made), (made.root / "pipeline.yaml").read_text()
    with (
        live.clients(made, {"same": answers}, questions) as kept,
        live.clients(made, {"same": answers}, questions, fresh=True, http_clients=1, grpc_clients=1) as fresh,
    ):
        made.edit("ready_timeout: 60", "ready_timeout: 60\n  stop_timeout: 20")
        made.good("apply")
        kept.proceed(50)
        fresh.proceed(20)
    assert live.nonce(made) != before
    assert kept.failed == fresh.failed == []
    assert set(kept.counts) == set(fresh.counts) == {"same"}
    assert made.good("plan").startswith("No changes.")
    (made.root / "pipeline.yaml").write_text(text)
    made.good("rollback", "2")
    assert made.good("plan").startswith("No changes.")


def test_other_ports(made: project.Project) -> None:
    """A server on other ports is ready before the old one is stopped."""
    text = (made.root / "pipeline.yaml").read_text()
    ports = project.free_ports()
    for old, new in zip(made.ports, ports, strict=True):
        made.edit(f": {old}", f": {new}")
    made.good("apply")
    assert triton.Client(port=ports[0]).digest("tiny") == live.lock(made)["models"]["tiny"]["digest"]
    assert not triton.Client(port=made.ports[0]).live()
    (made.root / "pipeline.yaml").write_text(text)
    made.good("rollback", "2")
    assert live.digest(made) == live.lock(made)["models"]["tiny"]["digest"]


def test_pinned_clients_are_warned_of(made: project.Project) -> None:
    """A plan that takes a version away says whose requests will fail (row 42)."""
    text = (made.root / "pipeline.yaml").read_text()
    made.edit("specific: [1, 2]", "specific: [2]")
    try:
        planned = made.run("plan")
        assert planned.returncode == 2
        assert "Clients that ask tiny for version 1 will fail" in planned.stdout
    finally:
        (made.root / "pipeline.yaml").write_text(text)
