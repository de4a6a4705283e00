"""A container in the words of the Docker engine's API, there and back. Nothing is asked here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.core import container

_QUIET = "no-new-privileges"
_LOG = "json-file"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How a container is. `status` is the engine's word: created, running, restarting, paused, exited, dead, removing.

    `exit_code` counts where it ended; `error` is why it did not start.
    """

    status: str
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    pid: int = 0

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.status == "running"


def request(wanted: container.Container) -> dict[str, Any]:
    """What the SDK's `create_container` gets, but for the host's part."""
    return {
        "image": wanted.image_id or wanted.image,
        "name": wanted.name,
        "command": list(wanted.command),
        "environment": [f"{key}={value}" for key, value in wanted.environment.items()],
        "labels": wanted.labels,
        "ports": [(port.inner, "tcp") for port in wanted.ports],
        "user": wanted.user,
        "stop_timeout": wanted.stop_seconds,
    }


def host(wanted: container.Container) -> dict[str, Any]:
    """What the SDK's `create_host_config` gets."""
    from docker.types import DeviceRequest, LogConfig, Mount, Ulimit  # noqa: PLC0415

    gpus = wanted.gpus
    return {
        "mounts": [
            Mount(target=each.target, source=each.source, type="bind", read_only=each.read_only)
            for each in wanted.mounts
        ],
        "port_bindings": {f"{port.inner}/tcp": (port.address, port.number) for port in wanted.ports},
        "device_requests": [_device(DeviceRequest, gpus)] if gpus else None,
        "network_mode": wanted.network,
        "cap_drop": list(wanted.cap_drop),
        "cap_add": list(wanted.cap_add),
        "security_opt": [f"{_QUIET}:true"] if wanted.no_new_privileges else [],
        "read_only": wanted.read_only,
        "tmpfs": wanted.tmpfs,
        "mem_limit": wanted.memory,
        "memswap_limit": wanted.memory,
        "nano_cpus": wanted.cpus or None,
        "pids_limit": wanted.pids,
        "shm_size": wanted.shm_size,
        "ulimits": [Ulimit(name=name, soft=limit, hard=limit) for name, limit in wanted.ulimits.items()],
        "ipc_mode": wanted.ipc,
        "init": wanted.init,
        "log_config": LogConfig(
            type=_LOG, config={"max-size": str(wanted.log_size), "max-file": str(wanted.log_files)}
        ),
        "restart_policy": {"Name": "no"},
    }


def read(told: Mapping[str, Any]) -> container.Container:
    """The container that the engine tells of (`GET /containers/ID/json`). Raises KeyError where that is not whole."""
    config, limits = told["Config"], told["HostConfig"]
    log = limits["LogConfig"]
    options = log.get("Config") or {} if log["Type"] == _LOG else {}
    swap = limits["MemorySwap"] == limits["Memory"]
    return container.Container(
        name=told["Name"].removeprefix("/"),
        image=config["Image"],
        image_id=told["Image"],
        command=tuple(config["Cmd"] or ()),
        environment=variables(config["Env"]),
        labels=dict(config["Labels"] or {}),
        mounts=tuple(_mount(each) for each in sorted(told["Mounts"], key=lambda each: str(each["Destination"]))),
        ports=tuple(sorted(_ports(limits["PortBindings"] or {}), key=lambda port: port.inner)),
        gpus=_gpus(limits.get("DeviceRequests") or ()),
        network={"default": "bridge"}.get(limits["NetworkMode"], limits["NetworkMode"]),
        user=config["User"],
        cap_drop=_capabilities(limits["CapDrop"]),
        cap_add=_capabilities(limits["CapAdd"]),
        no_new_privileges=_unprivileged(limits),
        read_only=limits["ReadonlyRootfs"],
        tmpfs=dict(limits.get("Tmpfs") or {}),
        # With swap it is no limit that we set.
        memory=limits["Memory"] if swap else 0,
        cpus=limits.get("NanoCpus") or 0,
        pids=limits.get("PidsLimit") or 0,
        shm_size=limits["ShmSize"],
        ulimits={each["Name"]: each["Soft"] for each in limits.get("Ulimits") or () if each["Soft"] == each["Hard"]},
        ipc=limits["IpcMode"],
        init=bool(limits.get("Init")),
        log_size=_number(options.get("max-size")),
        log_files=_number(options.get("max-file")),
        stop_seconds=config.get("StopTimeout") or 0,
    )


def state(told: Mapping[str, Any]) -> State:
    """How the container is."""
    known = told["State"]
    return State(
        status=known["Status"],
        exit_code=known["ExitCode"],
        oom_killed=known["OOMKilled"],
        error=known["Error"],
        pid=known["Pid"],
    )


def variables(words: list[str] | None) -> dict[str, str]:
    """The engine's `NAME=VALUE` words as a mapping."""
    return {name: value for name, _, value in (word.partition("=") for word in words or ())}


def explain(found: State, memory: int) -> str:
    """How a container ended, in words; empty where it runs. `memory` is its limit in bytes."""
    code = found.exit_code
    if found.oom_killed:
        limit = container.shown_size(memory)
        return f"the kernel killed it at its memory limit of {limit} (target.container.memory), exit code {code}"
    if found.status == "created":
        return f"it never started: {found.error}" if found.error else "it never started"
    if found.status in {"exited", "dead"}:
        signal = f", killed by signal {code - 128}" if code > 128 else ""
        return f"it ended with exit code {code}{signal}"
    return "" if found.running else f"it is {found.status}"


def _device(kind: Any, gpus: container.Gpus) -> Any:  # noqa: ANN401 - the SDK has no types
    asked: dict[str, Any] = {"device_ids": list(gpus.ids)} if gpus.ids else {"count": gpus.count}
    return kind(**asked, capabilities=[["gpu"]])


def _gpus(requests: Any) -> container.Gpus | None:  # noqa: ANN401 - JSON
    for each in requests:
        if ["gpu"] in (each.get("Capabilities") or ()):
            return container.Gpus(count=each.get("Count") or 0, ids=tuple(each.get("DeviceIDs") or ()))
    return None


def _mount(each: Mapping[str, Any]) -> container.Mount:
    source = each["Source"] if each["Type"] == "bind" else f"{each['Type']}:{each.get('Name', '')}"
    return container.Mount(source=source, target=each["Destination"], read_only=not each["RW"])


def _ports(bindings: Mapping[str, Any]) -> list[container.Port]:
    return [
        container.Port(inner=int(name.partition("/")[0]), address=each["HostIp"], number=_number(each["HostPort"]))
        for name, published in bindings.items()
        for each in published or ()
    ]


def _capabilities(names: list[str] | None) -> tuple[str, ...]:
    return tuple(sorted(name.removeprefix("CAP_") for name in names or ()))


def _unprivileged(limits: Mapping[str, Any]) -> bool:
    options = {word.replace("=", ":") for word in limits.get("SecurityOpt") or ()}
    return not limits.get("Privileged") and bool(options & {_QUIET, f"{_QUIET}:true"})


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() else 0
