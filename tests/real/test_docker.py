"""Containers of the CPU image on a real engine: what they are, what they answer, how they end, what is refused."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.core import container, errors, options, run_line
from pipeline.edges import docker, family
from pipeline.edges.docker import containers as boxes
from tests import engine as engines
from tests.real import containers

pytestmark = pytest.mark.real

CANARY = "canary-7f3a91"
DEAF = ("python3", "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)")
HUNGRY = ("python3", "-c", "import time; held = [bytearray(1 << 20) for _ in range(2048)]; time.sleep(600)")


def quiet(_: str) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def place(image: docker.Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[containers.Place]:
    """A repository; the environment that its container is created in has a secret in several places."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "TRITON_PASSWORD", "DOCKER_AUTH_CONFIG"):
            patch.setenv(name, CANARY)
        limits = {"ulimits": {"memlock": 4 << 20}, "cpus": 2}
        yield containers.place(tmp_path_factory.mktemp("docker"), image, limits)


@pytest.fixture(scope="module")
def served(engine: docker.Engine, place: containers.Place) -> Iterator[boxes.Found]:
    """Its container, with all models ready."""
    with containers.running(engine, place.wanted) as found:
        containers.await_ready(engine, found, place.client)
        yield found


@pytest.fixture(scope="module")
def told(engine: docker.Engine, served: boxes.Found) -> dict[str, Any]:
    """All that the engine tells of it."""
    found: dict[str, Any] = engine.api.inspect_container(served.id)
    return found


def test_it_answers(place: containers.Place, served: boxes.Found) -> None:
    """The real Triton in the container is ours, and answers an inference of a TorchScript model."""
    place.client.expect(f"pipeline-{place.given.nonce}")
    answer = containers.ask(place.target.ports.http, "times", "input__0", [1.5, -2.0], [1, 2])
    assert answer == [3.0, -4.0]


HARDENED = [
    ("Config.User", "1000:1000"),
    ("HostConfig.CapDrop", ["ALL"]),
    ("HostConfig.CapAdd", None),
    ("HostConfig.Privileged", False),
    ("HostConfig.SecurityOpt", ["no-new-privileges:true"]),
    ("HostConfig.ReadonlyRootfs", True),
    ("HostConfig.Tmpfs", {"/tmp": "rw,nosuid,nodev,noexec,size=268435456,mode=1777"}),
    ("HostConfig.Memory", 2 << 30),
    ("HostConfig.MemorySwap", 2 << 30),
    ("HostConfig.NanoCpus", 2_000_000_000),
    ("HostConfig.PidsLimit", 8192),
    ("HostConfig.ShmSize", 1 << 30),
    ("HostConfig.IpcMode", "private"),
    ("HostConfig.PidMode", ""),
    ("HostConfig.UTSMode", ""),
    ("HostConfig.NetworkMode", "bridge"),
    ("HostConfig.Init", True),
    ("HostConfig.Devices", None),
    ("HostConfig.RestartPolicy", {"Name": "no", "MaximumRetryCount": 0}),
    ("HostConfig.LogConfig", {"Type": "json-file", "Config": {"max-size": "10485760", "max-file": "3"}}),
    ("Config.StopTimeout", 20),
]


@pytest.mark.parametrize(("option", "value"), HARDENED, ids=[option for option, _ in HARDENED])
def test_hardening(told: dict[str, Any], option: str, value: Any) -> None:
    """Row 62: the engine has every option of the hardening as the spec's default says."""
    part, name = option.split(".")
    assert (told[part][name] or None) == (value or None)


def test_limits_of_each_process(told: dict[str, Any]) -> None:
    """Row 62: stack and locked memory as Triton's documents advise, as far as this machine can give."""
    limits = {each["Name"]: (each["Soft"], each["Hard"]) for each in told["HostConfig"]["Ulimits"]}
    assert limits == {"stack": (67108864, 67108864), "memlock": (4 << 20, 4 << 20)}


def test_only_the_repository_is_mounted(told: dict[str, Any], place: containers.Place) -> None:
    """Row 62: one folder of the machine is seen inside, and cannot be written."""
    assert [(each["Source"], each["Destination"], each["RW"]) for each in told["Mounts"]] == [
        (str(place.root), "/models", False)
    ]


def test_the_kernel_agrees(told: dict[str, Any]) -> None:
    """Row 62: the very process has no capability, no way to new ones, another user, and a filter on its calls."""
    facts = dict(line.split(":\t", 1) for line in Path(f"/proc/{told['State']['Pid']}/status").read_text().splitlines())
    assert {facts[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")} == {"0" * 16}
    assert (facts["NoNewPrivs"], facts["Seccomp"], facts["Uid"].split()) == ("1", "2", ["1000"] * 4)


def test_ports_on_the_loopback_address_only(place: containers.Place, served: boxes.Found) -> None:
    """Row 61: on the machine nothing listens on the ports but on 127.0.0.1."""
    ports = place.target.ports
    wanted = {(f"0100007F:{number:04X}", "0A") for number in (ports.http, ports.grpc, ports.metrics)}
    ends = tuple(address[-4:] for address, _ in wanted)
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    assert {(row[1], row[3]) for row in rows if row[1].endswith(ends) and row[3] == "0A"} == wanted


def test_no_secret_in_it(told: dict[str, Any], engine: docker.Engine, served: boxes.Found) -> None:
    """Row 63: nothing of this process's environment is in its variables, labels, words or log."""
    assert CANARY not in json.dumps(told)
    assert CANARY not in "\n".join(boxes.logs(engine, served.id, lines=1000))
    names = {word.partition("=")[0] for word in told["Config"]["Env"]}
    expected = {"PATH", "LD_LIBRARY_PATH", "USER", "HOME", "PYTHONDONTWRITEBYTECODE", "NVIDIA_VISIBLE_DEVICES"}
    assert names <= expected | {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "THP_MEM_ALLOC_ENABLE"} | {
        "GPG_KEY",
        "PYTHON_VERSION",
        "PYTHON_SHA256",
        "LANG",
    }


def test_what_is_found_is_what_was_wanted(engine: docker.Engine, place: containers.Place, served: boxes.Found) -> None:
    """Found by its project, as data, a container has no difference to the one that was asked for."""
    (found,) = boxes.find(engine, project=place.given.project)
    assert (found.id, found.owner, found.end) == (served.id, place.given.nonce, "")
    assert found.fingerprint == container.fingerprint(place.target, place.given)
    assert options.differences(place.wanted, found.has, inherited=found.inherited) == ()
    assert boxes.find(engine, project="another") == ()


def test_a_limit_changed_by_hand_is_a_difference(engine: docker.Engine, place: containers.Place) -> None:
    """`docker update` is seen, by the name of the option."""
    wanted = msgspec.structs.replace(place.wanted, name="updated", ports=(), command=("sleep", "60"))
    with containers.running(engine, wanted) as found:
        engine.api.update_container(found.id, mem_limit="1g", memswap_limit="1g")
        now = boxes.look(engine, found.id)
        assert now
        (difference,) = options.differences(wanted, now.has, inherited=now.inherited)
        assert (difference.option, difference.found) == ("memory", "1g")


def test_the_printed_line_makes_the_same(engine: docker.Engine, place: containers.Place) -> None:
    """The `docker run` line, run by Docker's own program, makes the container that the SDK makes."""
    wanted = msgspec.structs.replace(place.wanted, name="printed")
    words = shlex.split(run_line.docker_run(wanted).replace("docker run --detach", "docker create").replace("\\\n", ""))
    made = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    try:
        found = boxes.look(engine, made)
        assert found
        assert options.differences(wanted, found.has, inherited=found.inherited) == ()
    finally:
        boxes.remove(engine, made)


def test_a_folder_that_takes_anothers_place_is_seen(
    engine: docker.Engine, place: containers.Place, served: boxes.Found
) -> None:
    """A model's folder is swapped outside, and a load inside takes the new one: the parent is what is mounted."""
    live = place.root / "model_repository" / "times"
    containers.write(place.root / "next", 7.0)
    shutil.move(live, place.root / "old")
    shutil.move(place.root / "next" / "times", live)
    place.client.load("times", timeout=60)
    assert containers.ask(place.target.ports.http, "times", "input__0", [1.0, 2.0], [1, 2]) == [7.0, 14.0]


def test_a_dead_stub_is_seen(engine: docker.Engine, place: containers.Place, served: boxes.Found) -> None:
    """The engine tells which version has how many processes; one that was killed is missing."""
    await_processes(engine, served, {"times": {"1": 1}, "slow": {"1": 1}})
    rows = engine.api.top(served.id, ps_args="-eo pid,args")["Processes"]
    (pid,) = (int(row[0]) for row in rows if "_stub /models/model_repository/slow/" in row[-1])
    os.kill(pid, signal.SIGKILL)
    await_processes(engine, served, {"times": {"1": 1}})
    known = boxes.memory(engine, served)
    assert (known.limit, known.kills) == (2 << 30, 0)
    assert 0 < known.peak < known.limit


def await_processes(engine: docker.Engine, found: boxes.Found, wanted: dict[str, dict[str, int]]) -> None:
    """Returns when these run; what was replaced or killed may take a moment to end."""
    deadline = time.monotonic() + 20
    while (now := family.versions(boxes.processes(engine, found.id))) != wanted:
        assert time.monotonic() < deadline, now
        time.sleep(0.1)


def test_port_in_use(engine: docker.Engine, place: containers.Place, tmp_path: Path, image: docker.Image) -> None:
    """Row 50: the port is named, and the container that was created is removed."""
    other = containers.place(tmp_path, image)
    with socket.create_server(("127.0.0.1", other.target.ports.grpc)):
        with pytest.raises(
            errors.PipelineError, match=rf"port {other.target.ports.grpc} on 127\.0\.0\.1 is in use"
        ) as it:
            boxes.run(engine, other.wanted, say=quiet)
        assert it.value.exit_code == errors.Exit.FAILED
    assert boxes.find(engine, project=other.given.project) == ()


def test_missing_image(engine: docker.Engine, place: containers.Place) -> None:
    """Row 53: an image that is not there is Unfit, and named."""
    wanted = msgspec.structs.replace(place.wanted, name="nowhere", image="triton-nowhere:1", image_id="", ports=())
    with pytest.raises(errors.Unfit, match="the image triton-nowhere:1 is not here"):
        boxes.run(engine, wanted, say=quiet)


def test_gpus_without_the_toolkit(engine: docker.Engine, place: containers.Place) -> None:
    """The engine's refusal to give GPUs is told as the missing toolkit, with what installs it; nothing is left."""
    assert "nvidia" not in docker.facts(engine).runtimes, "this test is for an engine without NVIDIA's runtime"
    wanted = msgspec.structs.replace(place.wanted, name="gpus", ports=(), gpus=container.Gpus(count=-1))
    with pytest.raises(errors.Unfit, match="NVIDIA's container toolkit is missing") as refused:
        boxes.run(engine, wanted, say=quiet)
    assert "nvidia-ctk runtime configure" in refused.value.hint
    assert [each.has.name for each in boxes.find(engine, project=place.given.project)] == [place.wanted.name]


def test_someone_elses_container_under_our_name(engine: docker.Engine, place: containers.Place) -> None:
    """A name that is taken is told, and whoever has it is left alone; our label on another's work has another owner."""
    stranger = msgspec.structs.replace(
        place.wanted,
        name="stranger",
        ports=(),
        command=("sleep", "60"),
        labels=place.wanted.labels | {container.OWNER: "0" * 32},
    )
    with containers.running(engine, stranger) as found:
        with pytest.raises(errors.PipelineError, match="a container with the name stranger is there"):
            boxes.run(engine, stranger, say=quiet)
        known = {each.id: each.owner for each in boxes.find(engine, project=place.given.project)}
        assert known[found.id] == "0" * 32
        assert found.owner != place.given.nonce


def test_killed_at_its_memory_limit(engine: docker.Engine, place: containers.Place) -> None:
    """Row 54: a container that needs more memory than it may is told as such, with the limit."""
    wanted = msgspec.structs.replace(place.wanted, name="hungry", ports=(), command=HUNGRY, memory=64 << 20)
    with containers.running(engine, wanted) as found:
        engine.api.wait(found.id, timeout=60)
        now = boxes.look(engine, found.id)
        assert now
        assert (now.state.status, now.state.exit_code, now.state.oom_killed) == ("exited", 137, True)
        assert "memory limit of 64m (target.container.memory)" in now.end


def test_a_model_that_does_not_fit(engine: docker.Engine, tmp_path: Path, image: docker.Image) -> None:
    """Row 54: where the kernel kills only a model's process the server runs on, and the engine tells why."""
    place = containers.place(tmp_path, image, {"memory": "200m"})
    with containers.running(engine, place.wanted) as found:
        deadline = time.monotonic() + 60
        while not (known := boxes.memory(engine, found)).kills:
            assert time.monotonic() < deadline, boxes.logs(engine, found.id)
        assert str(known).startswith("the kernel killed a process ")
        assert "at the memory limit of 200m" in str(known)
        now = boxes.look(engine, found.id)
        assert now
        assert now.state.running


def test_sigterm_ignored(engine: docker.Engine, place: containers.Place) -> None:
    """Row 58: what does not end by itself is killed after its time, and told."""
    wanted = msgspec.structs.replace(place.wanted, name="deaf", ports=(), command=DEAF, stop_seconds=2)
    said: list[str] = []
    with containers.running(engine, wanted) as found:
        time.sleep(1)  # until Python has the handler set
        began = time.monotonic()
        state = boxes.stop(engine, found, say=said.append)
        took = time.monotonic() - began
    assert state
    assert (state.status, state.exit_code) == ("exited", 137)
    assert 2 <= took < 15
    assert said[-1] == "the server in deaf did not end by itself: it was killed"


def test_stop_answers_what_is_in_flight(engine: docker.Engine, tmp_path: Path, image: docker.Image) -> None:
    """Row 59: a request of two seconds is answered while the server stops, new ones are refused, and it ends."""
    place = containers.place(tmp_path, image)
    port = place.target.ports.http
    with containers.running(engine, place.wanted) as found, concurrent.futures.ThreadPoolExecutor() as pool:
        containers.await_ready(engine, found, place.client)
        asked = pool.submit(containers.ask, port, "slow", "IN", [5.0], [1])
        time.sleep(0.7)
        stopped = pool.submit(boxes.stop, engine, found, say=quiet)
        time.sleep(0.7)
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            containers.ask(port, "times", "input__0", [1.0, 2.0], [1, 2])
        assert asked.result(30) == [5.0]
        state = stopped.result(60)
        assert state
        assert (state.status, state.exit_code) == ("exited", 0)
        assert boxes.stop(engine, found, say=quiet) == state
        boxes.remove(engine, found.id)
        assert boxes.look(engine, found.id) is None
        boxes.remove(engine, found.id)


def test_the_image_is_labelled_and_not_roots(engine: docker.Engine, image: docker.Image) -> None:
    """The image says what it is and what went into it, and runs as user 1000; built again, it is there already."""
    told = engine.api.inspect_image(image.id)
    assert told["Config"]["User"] == "1000:1000"
    assert re.fullmatch("[0-9a-f]{64}", image.labels["triton-pipeline.inputs"])
    assert image.labels["org.opencontainers.image.licenses"]
    assert image.size < 1.2e9
    assert engines.cpu_image(engine).id == image.id


@pytest.mark.full
def test_the_image_is_repeatable(engine: docker.Engine, image: docker.Image) -> None:
    """Built anew from the same inputs, every layer of the image has the same digest."""
    again = engines.cpu_image(engine, fresh=True, tag="triton-pipeline-cpu:again")
    first, second = (engine.api.inspect_image(each.id)["RootFS"]["Layers"] for each in (image, again))
    assert again.id != image.id
    assert first == second
