"""Where the models are served, as it is written."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from pipeline.core.spec.base import Node, Port, Seconds, Size


class Ports(Node, frozen=True, kw_only=True):
    """The ports that the server listens on, on the loopback address."""

    http: Annotated[Port, Meta(description="HTTP/REST port.", examples=[8000])] = 8000
    grpc: Annotated[Port, Meta(description="gRPC port.", examples=[8001])] = 8001
    metrics: Annotated[Port, Meta(description="Prometheus metrics port.", examples=[8002])] = 8002


class Ulimits(Node, frozen=True, kw_only=True):
    """Limits of each process in bytes, -1 for none. The defaults are what Triton's documents advise."""

    memlock: Annotated[
        Annotated[int, Meta(ge=-1, le=9223372036854775807)] | None,
        Meta(
            description="Memory that it may keep from being swapped out; by default -1 where there are GPUs, which "
            "read such memory, and what the engine gives where there are none.",
            examples=[-1],
        ),
    ] = None
    stack: Annotated[int, Meta(ge=-1, le=9223372036854775807, description="Stack of each thread.")] = 67108864


class Container(Node, frozen=True, kw_only=True):
    """How the server's container is shut in and limited. Every default is the safe one; `docker` runtime only."""

    network: Annotated[
        Literal["bridge", "host"],
        Meta(
            description="`bridge`: a network of its own, and only the three ports lead in. `host`: the machine's own, "
            "where an old and a new container can share the ports, so that an image changes without a gap."
        ),
    ] = "bridge"
    address: Annotated[
        str,
        Meta(
            pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$(?!\n)",
            description="The IPv4 address of this machine that the ports are opened on. Triton asks nobody who they "
            "are: whoever reaches another address than the loopback one can use the models and change them.",
            examples=["127.0.0.1"],
        ),
    ] = "127.0.0.1"
    user: Annotated[
        str,
        Meta(
            pattern=r"^[0-9]{1,10}:[0-9]{1,10}$(?!\n)",
            description="User and group id that the server runs as.",
            examples=["1000:1000"],
        ),
    ] = "1000:1000"
    capabilities: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[A-Z][A-Z_]{1,31}$(?!\n)")], ...],
        Meta(description="Linux capabilities that are kept; all others are dropped.", examples=[["SYS_NICE"]]),
    ] = ()
    no_new_privileges: Annotated[bool, Meta(description="No program in it gets more rights than its parent.")] = True
    read_only: Annotated[bool, Meta(description="Nothing in it can be written but /tmp and /dev/shm.")] = True
    tmp_size: Annotated[Size, Meta(description="Size of /tmp, which is memory.", examples=["256m"])] = "256m"
    tmp_exec: Annotated[
        bool,
        Meta(description="Programs may be run from /tmp: compiled `.pt2` packages are unpacked there and need it."),
    ] = False
    memory: Annotated[
        Size,
        Meta(
            description="Memory of all its processes, /tmp and /dev/shm counted; there is no swap. The server is "
            "killed where it needs more.",
            examples=["32g"],
        ),
    ] = "16g"
    cpus: Annotated[
        Annotated[float, Meta(gt=0, le=4096)] | None,
        Meta(description="How many processors' time it may take; by default all.", examples=[4]),
    ] = None
    pids: Annotated[
        int, Meta(ge=16, le=4194304, description="How many processes and threads it may have.", examples=[8192])
    ] = 8192
    shm_size: Annotated[
        Size,
        Meta(description="Size of /dev/shm, through which Python models get their tensors.", examples=["1g"]),
    ] = "1g"
    ulimits: Annotated[Ulimits, Meta(description="Limits of each process.")] = Ulimits()
    ipc: Annotated[
        Literal["private", "host"],
        Meta(description="Whose shared memory it sees: its own, or the machine's (clients that share theirs with it)."),
    ] = "private"
    init: Annotated[bool, Meta(description="A small first process passes signals on and reaps orphans.")] = True
    log_size: Annotated[Size, Meta(description="Size of one file of its log.", examples=["10m"])] = "10m"
    log_files: Annotated[int, Meta(ge=1, le=1000, description="How many files of the log are kept.", examples=[3])] = 3


class Policy(Node, frozen=True, kw_only=True):
    """What is refused."""

    image: Annotated[
        Literal["warn", "strict"],
        Meta(
            description="What an image with known security holes is: something to warn of, or, where this is `strict`, "
            "an error."
        ),
    ] = "warn"
    signature: Annotated[
        Literal["none", "required"],
        Meta(
            description="`required`: `serve` and `apply` refuse a model repository that is not, file by file, what "
            "`sign` has signed with the private key of `key`."
        ),
    ] = "none"
    key: Annotated[
        Annotated[str, Meta(min_length=1, max_length=4096)] | None,
        Meta(
            description="The public key that signatures are checked with: a PEM file, relative to pipeline.yaml.",
            examples=["keys/models.pub"],
        ),
    ] = None


class Target(Node, frozen=True, kw_only=True):
    """Where the models are served."""

    image: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=512,
            description="The Triton image of the GPU server: a tag, or tag@sha256:digest. The lock pins the digest.",
            examples=["nvcr.io/nvidia/tritonserver:23.08-py3"],
        ),
    ]
    policy: Annotated[
        Literal["warn", "strict"] | Policy,
        Meta(
            description="What is refused; one word is what an image with known security holes is: something to warn "
            "of, or, where this is `strict`, an error.",
            examples=["strict", {"signature": "required", "key": "keys/models.pub"}],
        ),
    ] = "warn"
    runtime: Annotated[
        Literal["auto", "embedded", "docker"],
        Meta(
            description="Where Triton runs: `docker`, `embedded` (a process on this machine, no Docker and no GPU), "
            "or `auto`: docker where an engine and the image are there, else embedded."
        ),
    ] = "auto"
    gpus: Annotated[
        Literal["all", "none"] | Annotated[int, Meta(ge=0, le=1024)] | tuple[str | int, ...],
        Meta(
            description="GPUs for the server: all, none, a count, or a list of device ids.", examples=["all", 2, ["0"]]
        ),
    ] = "all"
    ports: Annotated[Ports, Meta(description="The server's ports.")] = Ports()
    container: Annotated[Container, Meta(description="The limits of the server's container.")] = Container()
    ready_timeout: Annotated[
        Seconds, Meta(description="Seconds in which every model must answer after a start.", examples=[120])
    ] = 120.0
    stop_timeout: Annotated[
        Seconds, Meta(description="Seconds that a stopping server has for requests in flight.", examples=[30])
    ] = 30.0
    keep_releases: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="How many releases stay in the store, to go back to without a rebuild.",
            examples=[5],
        ),
    ] = 5

    @property
    def policies(self) -> Policy:
        """The policy with all its parts."""
        return Policy(image=self.policy) if isinstance(self.policy, str) else self.policy
