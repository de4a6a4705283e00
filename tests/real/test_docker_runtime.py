"""The docker runtime through the commands that a user types: the guarantees of the embedded one, in a container."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.core import container
from pipeline.edges import docker
from tests import project
from tests.real import boxed, live, switching

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def made(
    engine: docker.Engine, image: docker.Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[project.Project]:
    """A project with two releases, the second live in a container."""
    found = boxed.two_releases(tmp_path_factory.mktemp("docker") / "project")
    assert live.lock(found)["image"] == {"id": image.id, "reference": docker.CPU}, "a local image is pinned by its id"
    yield found
    found.good("down")
    assert boxed.of(engine, found) == set()


def test_a_second_run_does_nothing(engine: docker.Engine, made: project.Project) -> None:
    """What runs as it should is left alone: the plan is empty, every command is a no-op, the container stays."""
    before = boxed.identity(made)
    assert made.good("plan").startswith("No changes.")
    assert made.good("serve").startswith("Triton serves already")
    assert made.good("apply").startswith("No changes.")
    assert boxed.identity(made) == before
    assert "18 of 18" not in made.good("verify")
    status = json.loads(made.good("status", "--json"))
    assert status["server"].startswith(f"Triton (docker) container {before[:12]}: http {made.ports[0]}")
    assert [(row["sync"], row["health"]) for row in status["models"]] == [("Synced", "Healthy")]
    assert boxed.box(engine, made).has.labels[container.PROJECT]


class Drift(NamedTuple):
    """What is done to the container, what `plan` says of the server, and whether it answers meanwhile."""

    act: Callable[[docker.Engine, str], object]
    plan: str
    health: str = "Missing"


def kill_stub(engine: docker.Engine, identity: str) -> None:
    """The process of version 2 ends; the server goes on."""
    rows = engine.api.top(identity, ps_args="-eo pid,args")["Processes"]
    (pid,) = (int(row[0]) for row in rows if "_stub /models/model_repository/tiny/2" in row[-1])
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)


NEW = "  + server docker  (needs a new server)\n        process: {} -> runs\n"
DRIFTS = {
    "removed": Drift(
        lambda engine, box: engine.api.remove_container(box, force=True), NEW.format("its container is gone")
    ),
    "stopped": Drift(lambda engine, box: engine.api.stop(box, timeout=60), NEW.format("it ended with exit code 0")),
    "killed": Drift(
        lambda engine, box: engine.api.kill(box), NEW.format("it ended with exit code 137, killed by signal 9")
    ),
    "paused": Drift(lambda engine, box: engine.api.pause(box), NEW.format("it is paused")),
    "memory changed": Drift(
        lambda engine, box: engine.api.update_container(box, mem_limit="4g", memswap_limit="4g"),
        "-/+ server docker  (needs a new server)\n        memory: 4g -> 3g\n",
        health="Healthy",
    ),
    "stub killed": Drift(
        kill_stub,
        "  ~ live model tiny  (needs a model load)\n        process: version 2: 1 of 1 ended -> runs\n",
        health="Degraded",
    ),
}


SLOW = dict.fromkeys(("killed", "paused"), pytest.mark.full)
"""Ends that differ from `stopped` in their words alone."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in DRIFTS])
def test_drift_of_the_container_is_seen_and_healed(engine: docker.Engine, made: project.Project, name: str) -> None:
    """Rows 52, 57, 67: what somebody did to the container is named by `plan` and `status`, and `heal` mends it."""
    drift, old = DRIFTS[name], boxed.identity(made)
    drift.act(engine, old)
    planned = made.run("plan")
    assert planned.returncode == 2, planned.stderr
    assert f"Changed outside the pipeline:\n\n{drift.plan}\nPlan: " in planned.stdout
    status = made.run("status", "--json")
    assert status.returncode == 2
    assert [row["health"] for row in json.loads(status.stdout)["models"]] == [drift.health]
    made.good("heal")
    assert made.good("plan").startswith("No changes.")
    made.good("verify")
    assert (boxed.identity(made) == old) == (name == "stub killed")
    assert old == boxed.identity(made) or old not in boxed.all_of(engine)


def test_another_image_under_the_name(engine: docker.Engine, made: project.Project, image: docker.Image) -> None:
    """Row 53: the lock's image serves on when its name is given to another; that one takes an explicit word."""
    other = engine.api.commit(boxed.identity(made), repository="boxed-other", tag="1")["Id"]
    before = boxed.identity(made)
    try:
        engine.api.tag(other, *docker.CPU.split(":"))
        assert made.good("plan").startswith("No changes.")
        ended = made.run("apply", "--accept-image")
        assert ended.returncode == 0, ended.stderr
        assert live.lock(made)["image"]["id"] == other
        assert "requests fail until the new one is ready" in ended.stderr
        assert boxed.box(engine, made).has.image_id == other
        assert made.good("plan").startswith("No changes.")
        made.good("rollback")
        assert boxed.box(engine, made).has.image_id == image.id
    finally:
        engine.api.tag(image.id, *docker.CPU.split(":"))
        made.good("apply", "--accept-image")
        engine.api.remove_image("boxed-other:1", force=True)
    assert before not in boxed.all_of(engine)


def test_flags_of_the_spec_make_a_new_container(made: project.Project) -> None:
    """A changed option of the spec is planned with its gap told, and made; the models answer as before."""
    before = boxed.identity(made)
    text = (made.root / "pipeline.yaml").read_text()
    made.edit("memory: 3g", "memory: 3g, pids: 4000")
    planned = made.run("plan")
    assert planned.returncode == 2
    assert "requests fail from the stop of the old one until the new one is ready" in planned.stdout
    assert "-/+ server docker  (needs a new server)\n        pids: 8192 -> 4000\n" in planned.stdout
    made.good("apply")
    assert boxed.identity(made) != before
    (made.root / "pipeline.yaml").write_text(text)
    made.good("apply", "--allow-rollback")
    made.good("verify")


def test_a_foreign_process_on_the_port(engine: docker.Engine, made: project.Project) -> None:
    """Row 50: a port that somebody took while the server was away is named with its holder; nothing is left."""
    engine.api.remove_container(boxed.identity(made), force=True)
    with socket.create_server(("127.0.0.1", made.ports[0])):
        refused = made.run("heal")
        assert refused.returncode == 1
        assert f"the http port {made.ports[0]} is in use by pid {os.getpid()}" in refused.stderr
        assert boxed.of(engine, made) == set()
    made.good("heal")


def test_our_label_on_someone_elses_work(engine: docker.Engine, made: project.Project) -> None:
    """A container that bears the project's label and no nonce of ours is told of, and never touched."""
    label = boxed.box(engine, made).has.labels[container.PROJECT]
    theirs = engine.api.create_container(
        docker.CPU, ["sleep", "600"], name="theirs", labels={container.PROJECT: label, container.OWNER: "0" * 32}
    )["Id"]
    try:
        engine.api.start(theirs)
        made.edit("scale: 1.25", "scale: 1.75")
        planned = made.run("plan")
        assert "The container theirs bears this project's label" in planned.stdout
        made.edit("scale: 1.75", "scale: 1.25")
        engine.api.remove_container(boxed.identity(made), force=True)
        made.good("heal")
        assert engine.api.inspect_container(theirs)["State"]["Running"]
    finally:
        engine.api.remove_container(theirs, force=True)


@pytest.mark.alone
def test_switches_under_traffic(made: project.Project) -> None:
    """Row 41: models switch in the running container; no request fails, and every answer is the old or the new one."""
    before = boxed.identity(made)
    switching.back_and_forth(made, rounds=2)
    assert boxed.identity(made) == before


@pytest.mark.full
def test_forty_switches_of_minilm_in_a_container(image: docker.Image, tmp_path: Path) -> None:
    """Twenty times forward, twenty times back, with real weights."""
    assert image.id
    made = project.make(tmp_path / "project", spec=boxed.spec(project.minilm()))
    made.good("apply")
    try:
        made.edit("normalize: true", "normalize: false")
        made.good("apply", "--accept-goldens")
        switching.back_and_forth(made, rounds=20, model="minilm", version="1", count=40)
    finally:
        made.good("down")


@pytest.mark.alone
def test_host_network_changes_without_a_gap(image: docker.Image, tmp_path: Path) -> None:
    """In the machine's own network another container takes the ports over: no request fails."""
    assert image.id
    made = project.make(tmp_path / "project", boxed.spec(more="network: host"))
    made.build()
    made.good("apply")
    try:
        questions, answers = live.golden(made, live.lock(made))
        before = boxed.identity(made)
        with (
            live.clients(made, {"same": answers}, questions) as kept,
            live.clients(made, {"same": answers}, questions, fresh=True, http_clients=1, grpc_clients=1) as fresh,
        ):
            made.edit("network: host", "network: host, pids: 4000")
            assert "clients may have to connect again" in made.run("plan").stdout
            made.good("apply")
            kept.proceed(50)
            fresh.proceed(20)
        assert boxed.identity(made) != before
        assert kept.failed == fresh.failed == []
        assert set(kept.counts) == set(fresh.counts) == {"same"}
        assert made.good("plan").startswith("No changes.")
    finally:
        made.good("down")


def test_too_little_memory_is_told(engine: docker.Engine, made: project.Project) -> None:
    """Row 54: a server that the kernel kills while it loads is told with its limit; nothing of it is left."""
    tight = project.make(made.root.with_name("tight"), boxed.spec().replace("memory: 3g", "memory: 150m"))
    tight.build()
    tight.good("assemble")
    ended = tight.run("serve")
    assert ended.returncode == 1
    assert "memory limit of 150m" in ended.stderr
    assert boxed.of(engine, tight) == set()


def test_gpus_without_the_toolkit(engine: docker.Engine, image: docker.Image, tmp_path: Path) -> None:
    """An engine that knows no GPUs is told as what it is, a missing toolkit, with its mend: exit 5, nothing is left."""
    assert image.id
    made = project.make(tmp_path / "project", boxed.spec().replace("gpus: none", "gpus: all"))
    made.build()
    made.good("assemble")
    ended = made.run("serve")
    assert ended.returncode == 5, ended.stderr
    assert "NVIDIA's container toolkit is missing" in ended.stderr
    assert "nvidia-ctk runtime configure" in ended.stderr
    assert boxed.of(engine, made) == set()


def test_files_that_the_container_may_not_read(image: docker.Image, tmp_path: Path) -> None:
    """A project that only its owner may read is refused with what to do, before a container is made."""
    assert image.id
    made = project.make(tmp_path / "project", boxed.spec())
    made.build()
    made.good("assemble")
    made.root.chmod(0o700)
    ended = made.run("serve")
    assert ended.returncode == 1
    assert f"the container's user 1000:1000 may not read {made.root}" in ended.stderr
    assert "chmod o+rx" in ended.stderr


def test_no_engine(tmp_path: Path) -> None:
    """Row 52: without an engine `runtime: docker` ends with exit 5 and the reason; `auto` says why it is embedded."""
    made = project.make(tmp_path / "project", boxed.spec())
    nowhere = f"unix://{tmp_path}/nowhere.sock"
    ended = made.run("plan", DOCKER_HOST=nowhere)
    assert ended.returncode == 5
    assert f"no Docker engine answers at {nowhere}" in ended.stderr
    assert "embedded" in ended.stderr
    made.edit("runtime: docker", "runtime: auto")
    planned = made.run("plan", DOCKER_HOST=nowhere)
    assert planned.returncode == 2
    assert f"Triton will run as `embedded`: no Docker engine answers at {nowhere}." in planned.stdout


def test_auto_takes_the_image_that_is_there(image: docker.Image, tmp_path: Path) -> None:
    """`auto` chooses docker where the engine has the image; the pipeline's own where there is no GPU; and stays."""
    assert image.id
    made = project.make(tmp_path / "project", boxed.spec().replace("runtime: docker", "runtime: auto"))
    assert f"Triton will run as `docker`: the engine has the image {docker.CPU}." in made.run("plan").stdout
    made.edit(f"image: {docker.CPU}", "image: nvcr.io/nvidia/tritonserver:23.08-py3")
    made.edit("gpus: none", "gpus: all")
    planned = made.run("plan").stdout
    assert f"no nvcr.io/nvidia/tritonserver:23.08-py3 here, and the engine has {docker.CPU}" in planned
    made.build()
    made.good("apply")
    try:
        assert live.lock(made)["image"] == {"reference": "nvcr.io/nvidia/tritonserver:23.08-py3"}
        assert made.good("plan").startswith("No changes.")
        assert boxed.identity(made)
    finally:
        made.good("down")


def test_a_run_that_died_between_record_and_container(engine: docker.Engine, made: project.Project) -> None:
    """Row 52: a container whose id nobody wrote down is found by the nonce that it bears, and goes on serving."""
    path = made.root / ".pipeline/run/server.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps(known | {"container": ""}))
    assert made.good("plan").startswith("No changes.")
    path.write_text(json.dumps(known))
    assert boxed.box(engine, made).owner == known["nonce"]
