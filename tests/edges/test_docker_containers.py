"""Containers on an engine that fails on the way: nothing is left behind, and every fault has its words."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.core import container, errors, options, spec
from pipeline.edges import docker
from pipeline.edges.docker import containers as boxes
from pipeline.edges.docker import form
from tests.edges import engine_stub as stub

GIVEN = container.Given(folder="/srv", image="triton:1", image_id="sha256:1", nonce="ab" * 16, project="c" * 64)
WANTED = container.container(spec.Target(image="triton:1", gpus=("0",)), GIVEN)
ID = "f" * 64
TOLD: dict[str, Any] = {
    "Id": ID,
    "Name": f"/{WANTED.name}",
    "Image": "sha256:1",
    "State": {"Status": "running", "ExitCode": 0, "OOMKilled": False, "Error": "", "Pid": 7},
    "Mounts": [{"Type": "bind", "Source": "/srv", "Destination": "/models", "RW": False}],
    "Config": {
        "Image": "sha256:1",
        "Tty": False,
        "Cmd": list(WANTED.command),
        "Env": [f"{name}={value}" for name, value in WANTED.environment.items()],
        "Labels": WANTED.labels,
        "User": "1000:1000",
        "StopTimeout": 40,
    },
    "HostConfig": {
        "PortBindings": {
            f"{each.inner}/tcp": [{"HostIp": each.address, "HostPort": str(each.number)}] for each in WANTED.ports
        },
        "DeviceRequests": [{"Count": 0, "DeviceIDs": ["0"], "Capabilities": [["gpu"]]}],
        "NetworkMode": "default",
        "CapDrop": ["ALL"],
        "CapAdd": None,
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "ReadonlyRootfs": True,
        "Tmpfs": WANTED.tmpfs,
        "Memory": WANTED.memory,
        "MemorySwap": WANTED.memory,
        "NanoCpus": 0,
        "PidsLimit": 8192,
        "ShmSize": WANTED.shm_size,
        "Ulimits": [
            {"Name": "memlock", "Soft": -1, "Hard": -1},
            {"Name": "stack", "Soft": 67108864, "Hard": 67108864},
        ],
        "IpcMode": "private",
        "Init": True,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": str(10 << 20), "max-file": "3"}},
    },
}
CREATED = {"POST /containers/create": (201, {"Id": ID, "Warnings": []})}
INSPECTED = {
    f"GET /containers/{ID}/json": (200, TOLD),
    "GET /images/sha256:1/json": (200, {"Config": {"Env": ["PATH=/bin"]}}),
}
REMOVED = {f"DELETE /containers/{ID}": (204, b"")}
START = f"POST /containers/{ID}/start"


@pytest.fixture
def socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the engine is."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'engine.sock'}")
    return tmp_path / "engine.sock"


def test_read_back(socket: Path) -> None:
    """What the engine tells of the container is the container that was asked for."""
    with stub.serving(socket, CREATED | INSPECTED | {START: (204, b"")}) as told, docker.connect() as engine:
        found = boxes.run(engine, WANTED, say=lambda _: None)
    assert found.has == msgspec.structs.replace(WANTED, image="sha256:1")
    assert found.inherited == {"PATH": "/bin"}
    assert told.bodies["POST /containers/create"]["Image"] == "sha256:1"
    requests = told.bodies["POST /containers/create"]["HostConfig"]["DeviceRequests"]
    assert [(each["DeviceIDs"], each["Capabilities"]) for each in requests] == [(["0"], [["gpu"]])]


HAND: list[tuple[str, str, Any, str]] = [
    ("HostConfig", "Privileged", True, "no_new_privileges"),
    ("HostConfig", "SecurityOpt", ["seccomp=unconfined"], "no_new_privileges"),
    ("HostConfig", "CapDrop", None, "cap_drop"),
    ("HostConfig", "CapAdd", ["CAP_SYS_ADMIN"], "cap_add"),
    ("HostConfig", "ReadonlyRootfs", False, "read_only"),
    ("HostConfig", "MemorySwap", -1, "memory"),
    ("HostConfig", "PidsLimit", None, "pids"),
    ("HostConfig", "IpcMode", "host", "ipc"),
    ("HostConfig", "NetworkMode", "host", "network"),
    ("HostConfig", "Tmpfs", {"/tmp": ""}, "tmpfs"),
    ("HostConfig", "Ulimits", [], "ulimits"),
    ("HostConfig", "Init", None, "init"),
    ("HostConfig", "DeviceRequests", None, "gpus"),
    ("HostConfig", "LogConfig", {"Type": "syslog", "Config": {}}, "log_size"),
    ("HostConfig", "PortBindings", {"8000/tcp": [{"HostIp": "", "HostPort": "8000"}]}, "ports"),
    ("Config", "User", "", "user"),
    ("Config", "Env", ["EXTRA=1"], "environment"),
    ("Config", "Cmd", ["bash"], "command"),
]


@pytest.mark.parametrize(
    ("part", "key", "value", "option"), HAND, ids=[f"{key}={value}"[:40] for _, key, value, _ in HAND]
)
def test_what_was_made_by_another_hand(part: str, key: str, value: Any, option: str) -> None:
    """A container that lacks one thing of ours differs in that."""
    told = copy.deepcopy(TOLD)
    told[part][key] = value
    found = options.differences(WANTED, form.read(told), inherited={})
    assert option in {each.option for each in found}
    assert options.differences(WANTED, form.read(TOLD), inherited={}) == ()


def test_what_does_not_start_is_removed(socket: Path) -> None:
    """Row 50: a container that was created and not started is removed, and the port is named."""
    answers = (
        CREATED | REMOVED | {START: (500, {"message": "Bind for 127.0.0.1:8000 failed: port is already allocated"})}
    )
    with (
        stub.serving(socket, answers) as told,
        docker.connect() as engine,
        pytest.raises(errors.PipelineError, match=r"the port 8000 on 127\.0\.0\.1 is in use"),
    ):
        boxes.run(engine, WANTED, say=lambda _: None)
    assert told.asked[-1] == f"DELETE /containers/{ID}"


def test_an_engine_that_hangs_at_the_start(socket: Path) -> None:
    """Row 52: the start is given up in time, and the removal is tried."""
    with (
        stub.serving(socket, CREATED | REMOVED | {START: stub.HANG}) as told,
        docker.connect(timeout=0.2) as engine,
        pytest.raises(errors.Unfit, match="did not answer within"),
    ):
        boxes.run(engine, WANTED, say=lambda _: None)
    assert told.asked[-1] == f"DELETE /containers/{ID}"


@pytest.mark.parametrize(
    "answer", [(200, {}), (200, []), (200, {"Id": ID, "Config": None}), (200, b"no JSON")], ids=str
)
def test_garbage_about_a_container(socket: Path, answer: stub.Answer) -> None:
    """Row 52: an answer that is no container is told, and no trace is shown."""
    with (
        stub.serving(socket, {f"GET /containers/{ID}/json": answer}),
        docker.connect() as engine,
        pytest.raises(errors.Unfit, match="is no Docker engine"),
    ):
        boxes.look(engine, ID)


def test_gone(socket: Path) -> None:
    """What is gone is None, has no log, and is removed and stopped without complaint."""
    with stub.serving(socket, {}), docker.connect() as engine:
        assert boxes.look(engine, ID) is None
        assert boxes.logs(engine, ID) == ()
        boxes.remove(engine, ID)
        found = boxes.Found(id=ID, has=form.read(TOLD), state=form.state(TOLD), inherited={})
        assert boxes.stop(engine, found, say=lambda _: None) is None


def test_the_log_is_escaped(socket: Path) -> None:
    """Row 64: control characters of a model's output do not reach the terminal."""
    text = b"fine\n\x1b[2Jcleared\rover\n"
    raw = b"\x01\0\0\0" + len(text).to_bytes(4, "big") + text
    answers = INSPECTED | {f"GET /containers/{ID}/logs": (200, raw)}
    with stub.serving(socket, answers), docker.connect() as engine:
        lines = boxes.logs(engine, ID)
    assert lines
    assert all(line.isprintable() for line in lines)


ENDS = [
    ({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, "killed it at its memory limit of 16g"),
    ({"Status": "exited", "ExitCode": 139}, "exit code 139, killed by signal 11"),
    ({"Status": "exited", "ExitCode": 1}, "it ended with exit code 1"),
    ({"Status": "created", "Error": "port is already allocated"}, "it never started: port is already allocated"),
    ({"Status": "created"}, "it never started"),
    ({"Status": "paused"}, "it is paused"),
    ({"Status": "running"}, ""),
]


@pytest.mark.parametrize(("state", "words"), ENDS, ids=[words or "running" for _, words in ENDS])
def test_ends(state: dict[str, Any], words: str) -> None:
    """Rows 54 and 55: how a container ended is told in words."""
    told = form.state(TOLD | {"State": TOLD["State"] | state})
    assert words in docker.explain(told, WANTED.memory)
    assert bool(docker.explain(told, WANTED.memory)) is bool(words)


PULL = "POST /images/create"
IMAGE = {"Id": "sha256:1", "Os": "linux", "Architecture": "amd64", "Size": 1, "RepoDigests": ["a@sha256:2"]}
HERE = {"GET /images/triton:1/json": (200, IMAGE), "GET /info": (200, {})}
GOOD = (
    200,
    [
        [{"status": "Pulling from triton", "id": "1"}],
        [{"status": "Downloading", "id": "aaa", "progressDetail": {"current": 500, "total": 1000}}],
        [{"status": "Pull complete", "id": "aaa"}],
    ],
)
BROKEN = (200, [[{"status": "Waiting", "id": "aaa"}], [{"error": "read: connection reset by peer"}]])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No pauses between the tries of a pull, and a line at each event."""
    monkeypatch.setattr("pipeline.edges.docker.images._PAUSES", (0.0, 0.0))
    monkeypatch.setattr("pipeline.edges.docker.images._SPEAK", 0.0)
    return iter(())


@pytest.mark.usefixtures("impatient")
def test_pull_goes_on(socket: Path) -> None:
    """Row 53: a pull that breaks off is tried again, with its progress told."""
    said: list[str] = []
    with stub.serving(socket, HERE | {PULL: [BROKEN, GOOD]}) as told, docker.connect() as engine:
        found = docker.pull(engine, "triton:1", limit=10, say=said.append)
    assert (found.id, found.digests) == ("sha256:1", ("a@sha256:2",))
    assert told.asked.count(PULL) == 2
    assert any("trying again" in line for line in said)
    assert said[-1] == "pulling triton:1: 0.00 of 0.00 GB known so far, 1 of 1 layers done"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("answer", "tries", "hint"),
    [
        ((404, {"message": "manifest for triton:1 not found: manifest unknown"}), 1, "Check the name and the tag."),
        ((200, [[{"error": "unauthorized: authentication required"}]]), 1, "docker login"),
        ((200, [[{"error": "toomanyrequests: limit"}]]), 1, "docker login"),
        ((200, [[{"error": "write: no space left on device"}]]), 1, "docker system df"),
        (BROKEN, 3, "the next pull goes on"),
        ((500, {"message": "Get https://registry/v2/: dial tcp: no route to host"}), 3, "connection to the registry"),
    ],
    ids=str,
)
def test_pull_fails(socket: Path, answer: stub.Answer, tries: int, hint: str) -> None:
    """Row 53: what no second try changes is told at once, anything else after some tries, with what to do."""
    with (
        stub.serving(socket, HERE | {PULL: answer}) as told,
        docker.connect() as engine,
        pytest.raises(errors.Unfit, match="could not pull triton:1") as refused,
    ):
        docker.pull(engine, "triton:1", limit=10, say=lambda _: None)
    assert told.asked.count(PULL) == tries
    assert hint in refused.value.hint


def test_pull_is_limited_in_time(socket: Path) -> None:
    """Row 53: a pull ends at its limit, and an engine that falls silent in it is given up."""
    with (
        stub.serving(socket, HERE | {PULL: GOOD}),
        docker.connect() as engine,
        pytest.raises(errors.Unfit, match="took longer than 0 s"),
    ):
        docker.pull(engine, "triton:1", limit=0, say=lambda _: None)
    with stub.serving(socket.with_name("second"), HERE | {PULL: stub.HANG}):
        pytest.MonkeyPatch().setenv("DOCKER_HOST", f"unix://{socket.with_name('second')}")
        with docker.connect(timeout=0.2) as engine, pytest.raises(errors.Unfit, match="did not answer within"):
            docker.pull(engine, "triton:1", limit=10, say=lambda _: None)


def test_pull_for_another_machine(socket: Path) -> None:
    """Row 53: an image of another architecture is refused."""
    other = {"GET /images/triton:1/json": (200, IMAGE | {"Architecture": "arm64"})}
    with (
        stub.serving(socket, HERE | other | {PULL: GOOD}),
        docker.connect() as engine,
        pytest.raises(errors.Unfit, match="made for linux/arm64"),
    ):
        docker.pull(engine, "triton:1", limit=10, say=lambda _: None)


def test_a_container_apart_shares_no_port() -> None:
    """In the machine's own network a server lets another share its ports, but for one that models are proven in."""
    limits = spec.Container(network="host")
    launch = docker.Launch(
        repository=Path("/srv/models"),
        ports=spec.Ports(),
        models=(),
        target=spec.Target(image="triton:1", container=limits),
        image="triton:1",
    )
    apart = msgspec.structs.replace(launch, shared=False)
    found = [[word for word in docker.wanted(each).command if "reuse" in word] for each in (launch, apart)]
    assert found == [["--reuse-http-port=true", "--reuse-grpc-port=true"], []]
    assert docker.fingerprint(apart) != docker.fingerprint(launch)
