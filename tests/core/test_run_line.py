"""The printed run line and compose file, parsed back, are the container that they were printed from."""

from __future__ import annotations

import argparse
import csv
import shlex
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import example, strategies
from hypothesis import given as examples

from pipeline.core import container, run_line, spec

IMAGE = "nvcr.io/nvidia/tritonserver:23.08-py3"
NASTY = strategies.text(strategies.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
ONE = {"name", "network", "user", "memory", "memory-swap", "cpus", "pids-limit", "shm-size", "ipc", "stop-timeout"}
MANY = {"label", "env", "mount", "publish", "cap-drop", "cap-add", "security-opt", "tmpfs", "ulimit", "log-opt"}


def made(folder: str, limits: dict[str, Any], **keys: Any) -> container.Container:
    """A container of a target with these keys."""
    target = msgspec.convert({"image": IMAGE, "container": limits, **keys}, spec.Target)
    known = container.Given(folder=folder, image=IMAGE, nonce="ab" * 16, project="p", models=("bert", "a.b-c"))
    return container.container(target, known)


def parse_line(text: str) -> container.Container:
    """A `docker run` line as the container that it makes, by a grammar of its own."""
    words = shlex.split(text.replace("\\\n", ""))
    assert words[:3] == ["docker", "run", "--detach"]
    grammar = argparse.ArgumentParser(allow_abbrev=False)
    for name in ONE | {"restart", "gpus", "log-driver"}:
        grammar.add_argument(f"--{name}")
    for name in MANY:
        grammar.add_argument(f"--{name}", action="append", default=[])
    for name in ("read-only", "init"):
        grammar.add_argument(f"--{name}", action="store_true")
    grammar.add_argument("image")
    grammar.add_argument("command", nargs=argparse.REMAINDER)
    got = grammar.parse_args(words[3:])
    assert (got.restart, got.log_driver, got.memory) == ("no", "json-file", got.memory_swap)
    log = dict(word.split("=") for word in got.log_opt)
    return container.Container(
        name=got.name,
        image=got.image,
        image_id="",
        command=tuple(got.command),
        environment=dict(word.split("=", 1) for word in got.env),
        labels=dict(word.split("=", 1) for word in got.label),
        mounts=tuple(parse_mount(word) for word in got.mount),
        ports=tuple(parse_port(word) for word in got.publish),
        gpus=parse_gpus(got.gpus),
        network=got.network,
        user=got.user,
        cap_drop=tuple(got.cap_drop),
        cap_add=tuple(got.cap_add),
        no_new_privileges=got.security_opt == ["no-new-privileges:true"],
        read_only=got.read_only,
        tmpfs=dict(word.split(":", 1) for word in got.tmpfs),
        memory=int(got.memory),
        cpus=round(float(got.cpus or 0) * 1e9),
        pids=int(got.pids_limit),
        shm_size=int(got.shm_size),
        ulimits={name: int(limit) for name, limit in (word.split("=") for word in got.ulimit)},
        ipc=got.ipc,
        init=got.init,
        log_size=int(log["max-size"]),
        log_files=int(log["max-file"]),
        stop_seconds=int(got.stop_timeout),
    )


def parse_mount(text: str) -> container.Mount:
    """Docker reads the value of --mount as a line of CSV."""
    fields = next(csv.reader([text]))
    keys = dict(field.split("=", 1) for field in fields if "=" in field)
    assert keys["type"] == "bind"
    return container.Mount(source=keys["source"], target=keys["target"], read_only="readonly" in fields)


def parse_port(text: str) -> container.Port:
    """ADDRESS:PORT:INNER/tcp."""
    address, number, inner = text.removesuffix("/tcp").split(":")
    return container.Port(inner=int(inner), address=address, number=int(number))


def parse_gpus(text: str | None) -> container.Gpus | None:
    """The value of --gpus, which is CSV too."""
    if text is None:
        return None
    field = next(csv.reader([text]))[0]
    if field.startswith("device="):
        return container.Gpus(ids=tuple(field.removeprefix("device=").split(",")))
    return container.Gpus(count=-1 if field == "all" else int(field))


def parse_compose(text: str) -> container.Container:
    """A compose file as the container that it makes."""
    services: dict[str, Any] = {"services": plain(yaml.safe_load(text)["services"])}
    got = services["services"]["triton"]
    assert (got["restart"], got["mem_limit"], got["logging"]["driver"]) == ("no", got["memswap_limit"], "json-file")
    devices = got.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    return container.Container(
        name=got["container_name"],
        image=got["image"],
        image_id="",
        command=tuple(got["command"]),
        environment=got["environment"],
        labels=got["labels"],
        mounts=tuple(
            container.Mount(source=each["source"], target=each["target"], read_only=each["read_only"])
            for each in got["volumes"]
        ),
        ports=tuple(parse_port(each) for each in got["ports"]),
        gpus=parse_device(devices[0]) if devices else None,
        network=got["network_mode"],
        user=got["user"],
        cap_drop=tuple(got["cap_drop"]),
        cap_add=tuple(got["cap_add"]),
        no_new_privileges=got["security_opt"] == ["no-new-privileges:true"],
        read_only=got["read_only"],
        tmpfs=dict(each.split(":", 1) for each in got["tmpfs"]),
        memory=got["mem_limit"],
        cpus=round(float(got.get("cpus", 0)) * 1e9),
        pids=got["pids_limit"],
        shm_size=got["shm_size"],
        ulimits=got["ulimits"],
        ipc=got["ipc"],
        init=got["init"],
        log_size=int(got["logging"]["options"]["max-size"]),
        log_files=int(got["logging"]["options"]["max-file"]),
        stop_seconds=int(got["stop_grace_period"].removesuffix("s")),
    )


def parse_device(each: dict[str, Any]) -> container.Gpus:
    """A device reservation for GPUs."""
    assert (each["driver"], each["capabilities"]) == ("nvidia", ["gpu"])
    if "device_ids" in each:
        return container.Gpus(ids=tuple(each["device_ids"]))
    return container.Gpus(count=-1 if each["count"] == "all" else each["count"])


def plain(value: Any) -> Any:
    """Text after compose put variables in: there are none, and two dollars are one."""
    match value:
        case str():
            assert "$" not in value.replace("$$", "")
            return value.replace("$$", "$")
        case list():
            return [plain(each) for each in value]
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case _:
            return value


CASES: list[dict[str, Any]] = [
    {},
    {"gpus": "none"},
    {"gpus": 2},
    {"gpus": ["0", "GPU-3a"]},
    {"ports": {"http": 9000, "grpc": 9001, "metrics": 9002}, "stop_timeout": 5},
    {"limits": {"network": "host", "ipc": "host", "init": False, "read_only": False, "no_new_privileges": False}},
    {"limits": {"cpus": 0.25, "capabilities": ["SYS_NICE"], "address": "0.0.0.0", "tmp_exec": True}},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_there_and_back(case: dict[str, Any]) -> None:
    """Both texts make the very container, whatever the spec asks for."""
    keys = dict(case)
    one = made("/srv/a folder", keys.pop("limits", {}), **keys)
    assert parse_line(run_line.docker_run(one)) == one
    assert parse_compose(run_line.compose(one)) == one


@examples(NASTY)
@example("a $HOME ${X} $$ b")
@example("""it's, "quoted" `id` \\ #""")
def test_any_folder_and_name(name: str) -> None:
    """Blanks, quotes, commas, dollars and all letters arrive as they are: no shell and no compose reads them."""
    one = msgspec.structs.replace(
        made(f"/srv/{name}", {}), environment={"A": name}, labels={"b": name}, command=(name,)
    )
    one = msgspec.structs.replace(one, command=("tritonserver", name))
    assert parse_line(run_line.docker_run(one)) == one
    assert parse_compose(run_line.compose(one)) == one


def test_nobodys_container_has_no_mark_of_ours() -> None:
    """Without a nonce, as for people who run it elsewhere, there is no label and no id of a project."""
    target = spec.Target(image=IMAGE)
    text = run_line.docker_run(container.container(target, container.Given(folder="/srv", image=IMAGE)))
    assert "--label" not in text
    assert "--id=" not in text
