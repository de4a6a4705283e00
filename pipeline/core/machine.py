"""A machine as frozen data: what a GPU server needs, as it was found or told. None is what nobody could find out."""

from __future__ import annotations

from typing import Literal

import msgspec


class Gpu(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A GPU by the name that the driver gives it; `capability` is its compute capability, such as 8.0."""

    name: str
    capability: str | None = None


class System(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The operating system: `id` and `version` as os-release has them (`debian`, `12`), `name` for people."""

    id: str
    version: str = ""
    name: str = ""
    like: tuple[str, ...] = ()
    architecture: str = ""


class Engine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A Docker engine, or why there is none to talk to.

    `state`: it answers, is not installed or started, may not be used by this user, does not answer in time, or what
    answers is no engine. `root` is the folder where its images lie.
    """

    state: Literal["running", "missing", "denied", "hung", "broken", "remote"]
    address: str
    version: str = ""
    runtimes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    root: str = ""
    words: str = ""


class Driver(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """NVIDIA's driver, or why it is not known: there is no `nvidia-smi`, it failed, or did not answer in time."""

    state: Literal["works", "missing", "failed", "hung"]
    version: str = ""
    gpus: tuple[Gpu, ...] = ()
    words: str = ""


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A port that the server shall listen on, and whether nobody does yet."""

    name: str
    number: int
    free: bool


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """Room in bytes where a folder lies."""

    folder: str
    free: int
    size: int


class Python(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The interpreter of the environment that has torch. `library` is the shared library that models of the embedded
    server need, empty where it was built without; `torch` its version, empty where there is none."""

    program: str
    version: str = ""
    library: str = ""
    torch: str = ""
    words: str = ""


class Machine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that was found. `given` says that the facts were told, not found: they are of another machine.

    `unknown` maps what could not be found out to the reason.
    """

    system: System | None = None
    engine: Engine | None = None
    driver: Driver | None = None
    toolkit: str | None = None
    disk: Space | None = None
    shm: Space | None = None
    ports: tuple[Port, ...] | None = None
    python: Python | None = None
    given: bool = False
    unknown: dict[str, str] = {}
