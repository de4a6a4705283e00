"""The container that a spec asks for: safe by default, each key in its place, known again by its differences."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.core import container, options, spec

GIVEN = container.Given(
    folder="/srv/project",
    repository="model_repository",
    image="nvcr.io/nvidia/tritonserver:23.08-py3",
    image_id="sha256:" + "1" * 64,
    nonce="ab" * 16,
    project="c" * 64,
    spec="d" * 64,
    release="e" * 64,
    models=("second", "first"),
)


def made(given: container.Given = GIVEN, limits: dict[str, Any] | None = None, **keys: Any) -> container.Container:
    """The container of a target with these keys, and of these keys of its limits."""
    return container.container(target(limits, **keys), given)


def target(limits: dict[str, Any] | None = None, **keys: Any) -> spec.Target:
    """A target as it is parsed."""
    return msgspec.convert({"image": GIVEN.image, "container": limits or {}, **keys}, spec.Target)


SAFE = {
    "user": "1000:1000",
    "cap_drop": ("ALL",),
    "cap_add": (),
    "no_new_privileges": True,
    "read_only": True,
    "tmpfs": {"/tmp": "rw,nosuid,nodev,noexec,size=268435456,mode=1777"},
    "memory": 16 << 30,
    "pids": 8192,
    "shm_size": 1 << 30,
    "ipc": "private",
    "init": True,
    "network": "bridge",
    "log_size": 10 << 20,
    "log_files": 3,
    "stop_seconds": 40,
    "mounts": (container.Mount(source="/srv/project", target="/models", read_only=True),),
    "gpus": container.Gpus(count=-1),
    "ulimits": {"memlock": -1, "stack": 67108864},
    "ports": (
        container.Port(inner=8000, address="127.0.0.1", number=8000),
        container.Port(inner=8001, address="127.0.0.1", number=8001),
        container.Port(inner=8002, address="127.0.0.1", number=8002),
    ),
}


@pytest.mark.parametrize("option", SAFE)
def test_safe_by_default(option: str) -> None:
    """A spec that says nothing gets the safe value of every option."""
    assert getattr(made(), option) == SAFE[option]


KEYS: list[tuple[dict[str, Any], str, Any]] = [
    ({"user": "2000:3000"}, "user", "2000:3000"),
    ({"capabilities": ["SYS_NICE", "IPC_LOCK"]}, "cap_add", ("IPC_LOCK", "SYS_NICE")),
    ({"no_new_privileges": False}, "no_new_privileges", False),
    ({"read_only": False}, "read_only", False),
    (
        {"tmp_size": "1g", "tmp_exec": True},
        "tmpfs",
        {"/tmp": "rw,nosuid,nodev,exec,size=1073741824,mode=1777"},
    ),
    ({"memory": "512m"}, "memory", 512 << 20),
    ({"cpus": 1.5}, "cpus", 1_500_000_000),
    ({"pids": 100}, "pids", 100),
    ({"shm_size": "64k"}, "shm_size", 64 << 10),
    ({"ulimits": {"memlock": 4096, "stack": 8192}}, "ulimits", {"memlock": 4096, "stack": 8192}),
    ({"ipc": "host"}, "ipc", "host"),
    ({"init": False}, "init", False),
    ({"log_size": "1m"}, "log_size", 1 << 20),
    ({"log_files": 9}, "log_files", 9),
    ({"network": "host"}, "network", "host"),
    ({"network": "host"}, "ports", ()),
]


@pytest.mark.parametrize(("limits", "option", "value"), KEYS, ids=lambda each: str(each)[:40])
def test_each_key_reaches_its_option(limits: dict[str, Any], option: str, value: Any) -> None:
    """What the spec says of the container is what it gets, and another fingerprint."""
    assert getattr(made(limits=limits), option) == value
    assert container.fingerprint(target(limits), GIVEN) != container.fingerprint(target(), GIVEN)


def test_every_key_of_the_spec_is_tried() -> None:
    """No key of `target.container` is without a case above; the address has its own."""
    tried = {key for limits, _, _ in KEYS for key in limits}
    assert tried | {"address"} == set(spec.Container.__struct_fields__)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("all", container.Gpus(count=-1)),
        ("none", None),
        (0, None),
        (2, container.Gpus(count=2)),
        ([], None),
        (["0", "GPU-1"], container.Gpus(ids=("0", "GPU-1"))),
        ([0, 1], container.Gpus(ids=("0", "1"))),
    ],
)
def test_gpus(asked: Any, wanted: container.Gpus | None) -> None:
    """All, none, a count or ids, each as the engine is asked for it; without GPUs NVIDIA's images see none either."""
    one = made(gpus=asked)
    assert one.gpus == wanted
    assert (one.environment.get("NVIDIA_VISIBLE_DEVICES") == "void") is (wanted is None)
    assert ("--allow-gpu-metrics=false" in one.command) is (wanted is None)
    assert one.ulimits.get("memlock") == (None if wanted is None else -1)


def test_command_in_a_network_of_its_own() -> None:
    """Triton gets explicit model control, the models in order, and Triton's usual ports whatever the machine's are."""
    assert made(ports={"http": 9000, "grpc": 9001, "metrics": 9002}, stop_timeout=12.5, gpus="all").command == (
        "tritonserver",
        "--id=pipeline-" + "ab" * 16,
        "--model-repository=/models/model_repository",
        "--http-address=0.0.0.0",
        "--http-port=8000",
        "--grpc-address=0.0.0.0",
        "--grpc-port=8001",
        "--metrics-address=0.0.0.0",
        "--metrics-port=8002",
        "--exit-timeout-secs=13",
        "--backend-config=python,shm-region-prefix-name=pipeline_" + "ab" * 16 + "_",
        "--model-control-mode=explicit",
        "--exit-on-error=false",
        "--disable-auto-complete-config",
        "--allow-sagemaker=false",
        "--allow-vertex-ai=false",
        "--load-model=first",
        "--load-model=second",
    )


def test_command_on_the_machines_network() -> None:
    """On the host's network Triton itself binds the spec's address and ports, and another may share them."""
    command = made(limits={"network": "host"}, ports={"http": 9000}).command
    assert {"--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"} < set(command)
    assert {"--http-port=9000", "--reuse-http-port=true", "--reuse-grpc-port=true"} < set(command)
    apart = msgspec.structs.replace(GIVEN, shared=False)
    assert not [word for word in made(apart, limits={"network": "host"}).command if word.startswith("--reuse")]


def test_stop_waits_longer_than_the_drain() -> None:
    """The engine kills later than Triton gives up by itself."""
    one = made(stop_timeout=7.2)
    drain = next(word for word in one.command if word.startswith("--exit-timeout-secs="))
    assert one.stop_seconds >= int(drain.partition("=")[2]) + container.STOP_SLACK


def test_labels() -> None:
    """The labels have the digests, and no container belongs to the project without a nonce."""
    assert made().labels == {
        "triton-pipeline.project": "c" * 64,
        "triton-pipeline.owner": "ab" * 16,
        "triton-pipeline.spec": "d" * 64,
        "triton-pipeline.release": "e" * 64,
        "triton-pipeline.fingerprint": container.fingerprint(target(), GIVEN),
    }
    assert made(given=msgspec.structs.replace(GIVEN, nonce="")).labels == {}


@pytest.mark.parametrize(
    "same",
    [
        {"nonce": "cd" * 16},
        {"project": "0" * 64},
        {"spec": "0" * 64},
        {"release": "0" * 64},
        {"models": ("third",)},
        {"image": "a/name/for/the/same:image"},
    ],
)
def test_what_a_running_one_can_take(same: dict[str, Any]) -> None:
    """Models, releases and other names for the same image need no new container."""
    other = msgspec.structs.replace(GIVEN, **same)
    assert container.fingerprint(target(), other) == container.fingerprint(target(), GIVEN)


@pytest.mark.parametrize("other", [{"folder": "/srv/other"}, {"repository": ""}, {"image_id": "sha256:" + "2" * 64}])
def test_what_needs_a_new_one(other: dict[str, Any]) -> None:
    """Other mounts and another image do."""
    changed = msgspec.structs.replace(GIVEN, **other)
    assert container.fingerprint(target(), changed) != container.fingerprint(target(), GIVEN)


def test_no_difference_to_itself() -> None:
    """A container differs in nothing from one that loaded other models, has another name, and its image's variables."""
    wanted = made()
    command = (*(word for word in wanted.command if not word.startswith("--load-model=")), "--load-model=other")
    variables = wanted.environment | {"PATH": "/bin"}
    found = msgspec.structs.replace(wanted, name="other", command=command, environment=variables, labels={})
    assert options.differences(wanted, found, inherited={"PATH": "/bin", "HOME": "/root"}) == ()


@pytest.mark.parametrize("option", sorted({*container.Container.__struct_fields__} - {"name", "labels", "image"}))
def test_each_other_option_is_a_difference(option: str) -> None:
    """Whatever was changed by hand is named, and nothing else."""
    wanted = made()
    changed: dict[type, Any] = {bool: False, int: 7, str: "another", tuple: (), dict: {"/other": "7"}}
    value = None if option == "gpus" else changed[type(getattr(wanted, option))]
    value = {"A": "b"} if option == "environment" else ("ALL",) if option == "cap_add" else value
    found = msgspec.structs.replace(wanted, **{option: value})
    assert [each.option for each in options.differences(wanted, found, inherited={})] == [option]


@pytest.mark.parametrize(("address", "rules"), [("127.0.0.1", []), ("127.1.2.3", []), ("0.0.0.0", ["open-ports"])])
def test_open_ports_are_warned_of(address: str, rules: list[str]) -> None:
    """Ports off the loopback address are the spec's choice, and a warning."""
    asked = target({"address": address})
    assert [each.rule for each in container.warnings(asked)] == rules
    assert {port.address for port in container.container(asked, GIVEN).ports} == {address}


@pytest.mark.parametrize(("text", "number"), [("1k", 1024), ("10m", 10 << 20), ("3g", 3 << 30)])
def test_sizes(text: str, number: int) -> None:
    """Sizes are read as Docker reads them, and written so again."""
    assert container.size(text) == number
    assert container.shown_size(number) == text
    assert container.shown_size(number + 1) == str(number + 1)
