"""The server's container as frozen data: what the spec asks for, or what an engine has.

Which options it gets is decided here, all of them, so that a test of the data is a test of the container. How an engine
is told lies in its edge, and how a person is told in `run_line`.
"""

from __future__ import annotations

import math

import msgspec

from pipeline.core import build, findings, image, spec

LOOPBACK = "127.0.0.1"
MODELS = "/models"
"""Where the mounted folder stands in the container."""

INNER = spec.Ports(http=8000, grpc=8001, metrics=8002)
"""The ports inside a container that has a network of its own."""

LABEL = "triton-pipeline."
PROJECT, OWNER, SPEC, RELEASE, FINGERPRINT = (
    LABEL + name for name in ("project", "owner", "spec", "release", "fingerprint")
)
STOP_SLACK = 10
"""Seconds that an engine waits longer than Triton's own drain, before it kills."""

ANY = "0.0.0.0"  # noqa: S104 - inside a network of its own; what leads in is published by address
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LOAD = "--load-model="
_PREFIX = "--backend-config=python,shm-region-prefix-name="
KEY = "pipeline-key"
"""The name of the key, and of the HTTP header that brings it."""

_HTTP_KEY, _GRPC_KEY = "--http-restricted-api=", "--grpc-restricted-protocol="
OWN = (_LOAD, "--id=", _PREFIX, _HTTP_KEY, _GRPC_KEY)
"""Words of the command that differ from server to server, and tell nothing of what it is."""

_OPTIONS = (
    "--model-control-mode=explicit",
    "--exit-on-error=false",
    "--disable-auto-complete-config",
    "--allow-sagemaker=false",
    "--allow-vertex-ai=false",
)
_NO_GPU = ("--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0")
_SHARED = ("--reuse-http-port=true", "--reuse-grpc-port=true")
_ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108 - the one folder that can be written
    "PYTHONDONTWRITEBYTECODE": "1",
    # As for the embedded server: memory of a batch is kept, not given back and taken again.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "THP_MEM_ALLOC_ENABLE": "1",
}
_HIDDEN = {"NVIDIA_VISIBLE_DEVICES": "void"}
"""NVIDIA's images ask for all GPUs by a variable, which an engine with NVIDIA's runtime as its default obeys."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of the machine, by its absolute path, and where it stands in the container."""

    source: str
    target: str
    read_only: bool = True


class Port(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A port of the machine on an address, and the one inside that it leads to."""

    inner: int
    address: str
    number: int


class Gpus(msgspec.Struct, frozen=True, kw_only=True):
    """GPUs to ask the engine for: by their ids, or so many of them, -1 for all."""

    count: int = 0
    ids: tuple[str, ...] = ()


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A container, wanted or found. Sizes are in bytes, `cpus` in billionths of a processor's time, 0 for no limit.

    `image` is what people call the image, `image_id` the engine's own id of it. `tmpfs` maps folders to their mount
    options, `ulimits` names to a limit, -1 for none. `stop_seconds` is how long the engine waits before it kills.
    """

    name: str
    image: str
    image_id: str
    command: tuple[str, ...]
    environment: dict[str, str]
    labels: dict[str, str]
    mounts: tuple[Mount, ...]
    ports: tuple[Port, ...]
    gpus: Gpus | None
    network: str
    user: str
    cap_drop: tuple[str, ...]
    cap_add: tuple[str, ...]
    no_new_privileges: bool
    read_only: bool
    tmpfs: dict[str, str]
    memory: int
    cpus: int
    pids: int
    shm_size: int
    ulimits: dict[str, int]
    ipc: str
    init: bool
    log_size: int
    log_files: int
    stop_seconds: int


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a container needs beside the spec.

    `nonce` (32 hexadecimal digits) tells this server from every other; without one the container belongs to nobody.
    `project`, `spec` and `release` are digests for its labels. `folder` is mounted, read-only: an absolute path;
    `repository` is the model repository's path below it, empty where it is the folder itself. It must be a parent of
    the models' folders: the mount of a folder does not see another that takes its place. `image` is a reference,
    `image_id` what the engine calls it. `models` are loaded at the start. With a `key` only who has it may load and
    unload models, as far as the image's release can tell them apart. A `shared` server in the machine's own network
    lets another listen on its ports too.
    """

    folder: str
    image: str
    repository: str = ""
    image_id: str = ""
    nonce: str = ""
    key: str = ""
    project: str = ""
    spec: str = ""
    release: str = ""
    models: tuple[str, ...] = ()
    shared: bool = True


def container(target: spec.Target, given: Given) -> Container:
    """The container that the spec asks for."""
    limits = target.container
    gpus = gpus_of(target.gpus)
    return Container(
        name=f"triton-{given.project[:8] or 'pipeline'}-{given.nonce[:8] or 'server'}",
        image=given.image,
        image_id=given.image_id,
        command=_command(target, given, on_gpu=gpus is not None),
        environment=_ENVIRONMENT | ({} if gpus else _HIDDEN),
        labels=_labels(target, given),
        mounts=(Mount(source=given.folder, target=MODELS),),
        ports=_ports(target) if limits.network == "bridge" else (),
        gpus=gpus,
        network=limits.network,
        user=limits.user,
        cap_drop=("ALL",),
        cap_add=tuple(sorted(set(limits.capabilities))),
        no_new_privileges=limits.no_new_privileges,
        read_only=limits.read_only,
        tmpfs={"/tmp": _tmp(limits)},  # noqa: S108 - the container's own
        memory=size(limits.memory),
        cpus=round((limits.cpus or 0) * 1_000_000_000),
        pids=limits.pids,
        shm_size=size(limits.shm_size),
        ulimits=_ulimits(limits.ulimits, on_gpu=gpus is not None),
        ipc=limits.ipc,
        init=limits.init,
        log_size=size(limits.log_size),
        log_files=limits.log_files,
        stop_seconds=math.ceil(target.stop_timeout) + STOP_SLACK,
    )


def fingerprint(target: spec.Target, given: Given) -> str:
    """The digest of all that only a new container can change: models come and go in a running one, its labels tell
    what it was made for, and an image counts by its id where that is known."""
    image = "" if given.image_id else given.image
    anybody = Given(
        folder=given.folder, repository=given.repository, image=image, image_id=given.image_id, shared=given.shared
    )
    return build.digest(container(target, anybody))


def gpus_of(asked: str | int | tuple[str | int, ...]) -> Gpus | None:
    """The spec's `gpus` as a request; None for no GPU."""
    match asked:
        case "all":
            return Gpus(count=-1)
        case int() if asked > 0:
            return Gpus(count=asked)
        case tuple() if asked:
            return Gpus(ids=tuple(str(each) for each in asked))
        case _:
            return None


def size(text: str) -> int:
    """Bytes of a size as the spec has it: `512m`, `16g`."""
    return int(text[:-1]) * _UNITS[text[-1]]


def shown_size(number: int) -> str:
    """Bytes in the largest unit of the spec that leaves nothing over."""
    for unit in "gmk":
        if number and number % _UNITS[unit] == 0:
            return f"{number // _UNITS[unit]}{unit}"
    return str(number)


def warnings(target: spec.Target) -> tuple[findings.Finding, ...]:
    """What the spec opens that was shut."""
    address = target.container.address
    if address.startswith("127."):
        return ()
    message = f"target.container.address is {address}: who reaches it can use, load and unload the models"
    hint = f"Use {LOOPBACK}, and put a proxy that knows who is asking before it."
    return (findings.Finding(rule="open-ports", message=message, severity=findings.Severity.WARNING, hint=hint),)


def _command(target: spec.Target, given: Given, *, on_gpu: bool) -> tuple[str, ...]:
    own = target.container.network == "bridge"
    address, ports = (ANY, INNER) if own else (target.container.address, target.ports)
    identity = (f"--id=pipeline-{given.nonce}",) if given.nonce else ()
    return (
        "tritonserver",
        *identity,
        f"--model-repository={MODELS}{'/' if given.repository else ''}{given.repository}",
        f"--http-address={address}",
        f"--http-port={ports.http}",
        f"--grpc-address={address}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-address={address}",
        f"--metrics-port={ports.metrics}",
        f"--exit-timeout-secs={math.ceil(target.stop_timeout)}",
        f"{_PREFIX}pipeline_{given.nonce}_",
        *_OPTIONS,
        *(() if on_gpu else _NO_GPU),
        *(_SHARED if given.shared and not own else ()),
        *_locked(target, given),
        *(f"{_LOAD}{name}" for name in sorted(given.models)),
    )


def _locked(target: spec.Target, given: Given) -> tuple[str, ...]:
    """What asks clients for the key before they may change the server.

    Clients that share their memory with the server must be able to say so. The options came with the releases 23.04
    (gRPC) and 23.12 (HTTP): triton-inference-server/server, pull requests 5397 and 6435.
    """
    release = image.release(given.image) if given.key else None
    if release is None:
        return ()
    shared = () if target.container.ipc == "host" else ("shared-memory",)
    what = ",".join(("model-repository", *shared, "trace", "logging"))
    asked = ((_GRPC_KEY, "23.05"), (_HTTP_KEY, "24.01"))
    return tuple(f"{option}{what}:{KEY}={given.key}" for option, since in asked if release >= since)


def _labels(target: spec.Target, given: Given) -> dict[str, str]:
    if not given.nonce:
        return {}
    return {
        PROJECT: given.project,
        OWNER: given.nonce,
        SPEC: given.spec,
        RELEASE: given.release,
        FINGERPRINT: fingerprint(target, given),
    }


def _ports(target: spec.Target) -> tuple[Port, ...]:
    address = target.container.address
    return (
        Port(inner=INNER.http, address=address, number=target.ports.http),
        Port(inner=INNER.grpc, address=address, number=target.ports.grpc),
        Port(inner=INNER.metrics, address=address, number=target.ports.metrics),
    )


def _ulimits(asked: spec.Ulimits, *, on_gpu: bool) -> dict[str, int]:
    locked = -1 if asked.memlock is None and on_gpu else asked.memlock
    return ({} if locked is None else {"memlock": locked}) | {"stack": asked.stack}


def _tmp(limits: spec.Container) -> str:
    execution = "exec" if limits.tmp_exec else "noexec"
    return f"rw,nosuid,nodev,{execution},size={size(limits.tmp_size)},mode=1777"
