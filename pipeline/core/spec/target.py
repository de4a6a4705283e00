"""Where the models are served, as it is written."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from pipeline.core.spec.base import Node, Port, Seconds


class Ports(Node, frozen=True, kw_only=True):
    """The ports that the server listens on, on the loopback address."""

    http: Annotated[Port, Meta(description="HTTP/REST port.", examples=[8000])] = 8000
    grpc: Annotated[Port, Meta(description="gRPC port.", examples=[8001])] = 8001
    metrics: Annotated[Port, Meta(description="Prometheus metrics port.", examples=[8002])] = 8002


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
