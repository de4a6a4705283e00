"""The checks of a machine, one a function: its facts against what the server needs, with the commands that mend it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pipeline.core import compat, formats, machine, mending

State = Literal["ok", "warning", "error"]
_GIB = 1 << 30
_LEAST = 10 * _GIB
_EASY = 30 * _GIB
_SHM = _GIB
BRANCH = 580
"""The driver branch to install where nothing says otherwise: it runs CUDA 13, and is supported until 2028."""

_PROTOCOL_DEVICES = "nvidia.com/gpu"
_ENGINES: dict[str, tuple[str, str]] = {
    "missing": ("no Docker engine answers at {address}", "engine-missing"),
    "denied": ("this user may not use the engine at {address}", "engine-denied"),
    "hung": ("the engine at {address} does not answer", "engine-hung"),
    "broken": ("what answers at {address} is no Docker engine: {words}", "engine-broken"),
}


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: Annotated[str, Meta(description="What was looked at: docker, driver, image, ...")]
    rule: Annotated[str, Meta(description="The rule that the verdict comes from: a name that stays.")]
    state: State
    found: Annotated[str, Meta(description="What is there.")]
    needed: Annotated[str, Meta(description="What is needed, or what to do.")] = ""
    mend: Annotated[tuple[mending.Mend, ...], Meta(description="The commands that mend it, by system.")] = ()
    source: Annotated[str, Meta(description="Where it says so.")] = ""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine is wanted for. `named` says that an image, a driver or GPUs were named to be judged: then what
    is wrong with them is an error, whatever could be used in their stead."""

    image: str | None
    runtime: Literal["auto", "embedded", "docker"] = "docker"
    gpus: bool = True
    policy: compat.Policy = "warn"
    artifacts: tuple[formats.Artifact, ...] = ()
    named: bool = False
    recommend: bool = False


def _lost(name: str, found: machine.Machine) -> Check:
    """What could not be found out."""
    why = found.unknown.get(name, "nobody has told")
    return Check(name=name, rule=f"{name}-unknown", state="warning", found=f"not known: {why}")


def system(found: machine.Machine, _want: Wanted) -> Iterator[Check]:
    """Which system this is: the commands are for two."""
    known = found.system
    if known is None:
        yield _lost("system", found)
    elif {"debian", "ubuntu"} & {known.id, *known.like}:
        yield Check(name="system", rule="system", state="ok", found=f"{known.name} {known.architecture}".strip())
    else:
        text = "the commands below are for Ubuntu and Debian; for others see the pages that they are from"
        yield Check(name="system", rule="system-other", state="warning", found=known.name or known.id, needed=text)


def engine(found: machine.Machine, _want: Wanted) -> Iterator[Check]:
    """Whether there is a Docker engine that this user may use."""
    known = found.engine
    if known is None:
        yield _lost("docker", found)
    elif known.state == "running":
        yield Check(name="docker", rule="engine", state="ok", found=f"Docker {known.version} at {known.address}")
    elif known.state == "remote":
        text = f"DOCKER_HOST names {known.address}, which was not asked"
        yield Check(name="docker", rule="engine-remote", state="warning", found=text)
    else:
        words, rule = _ENGINES[known.state]
        text = words.format(address=known.address, words=known.words)
        mend = {"missing": mending.docker, "denied": mending.member}.get(known.state, mending.restart)()
        needed = "a Docker engine that this user may use"
        yield Check(
            name="docker", rule=rule, state="error", found=text, needed=needed, mend=mend, source=mend[0].source
        )


def disk(found: machine.Machine, _want: Wanted) -> Iterator[Check]:
    """Whether there is room for an image."""
    if found.disk is None:
        yield _lost("disk", found)
        return
    free, text = found.disk.free, f"{_gib(found.disk.free)} free at {found.disk.folder}"
    if free >= _EASY:
        yield Check(name="disk", rule="disk", state="ok", found=text)
        return
    needed = f"{_gib(_EASY)}: an image is pulled and unpacked beside the one before"
    state: State = "warning" if free >= _LEAST else "error"
    yield Check(name="disk", rule="disk-small", state=state, found=text, needed=needed, mend=mending.room())


def driver(found: machine.Machine, _want: Wanted) -> Iterator[Check]:
    """NVIDIA's driver and the GPUs."""
    known = found.driver
    if known is None:
        yield _lost("driver", found)
        return
    if known.state == "works":
        names = ", ".join(f"{each.name} ({each.capability})" if each.capability else each.name for each in known.gpus)
        text = f"NVIDIA driver {known.version}; {names or 'no GPU'}"
        yield Check(name="driver", rule="driver", state="ok", found=text)
        return
    text, rule = {
        "missing": ("there is no `nvidia-smi`: no NVIDIA driver is installed", "driver-missing"),
        "failed": (f"`nvidia-smi` failed: {known.words}", "driver-failed"),
        "hung": ("`nvidia-smi` did not answer in time", "driver-hung"),
    }[known.state]
    needed = "an NVIDIA driver and a GPU; without them set `target.gpus: none`"
    if known.state == "hung":
        needed = "a driver that answers: without its persistence mode that may take seconds"
    mend = mending.persistence() if known.state == "hung" else mending.driver(BRANCH)
    yield Check(name="driver", rule=rule, state="error", found=text, needed=needed, mend=mend, source=mend[-1].source)


def toolkit(found: machine.Machine, _want: Wanted) -> Iterator[Check]:
    """Whether the engine can give GPUs to containers."""
    known = found.engine
    if known is None or known.state != "running":
        if found.toolkit:
            yield Check(name="toolkit", rule="toolkit", state="ok", found=f"NVIDIA container toolkit {found.toolkit}")
        else:
            yield _no_toolkit("NVIDIA's container toolkit is not installed")
    elif "nvidia" in known.runtimes or any(each.startswith(_PROTOCOL_DEVICES) for each in known.devices):
        text = (
            f"NVIDIA container toolkit {found.toolkit}".rstrip()
            if found.toolkit
            else "the engine knows NVIDIA's runtime"
        )
        yield Check(name="toolkit", rule="toolkit", state="ok", found=text)
    elif found.toolkit:
        text = f"NVIDIA container toolkit {found.toolkit}, and the engine does not know its runtime"
        yield Check(
            name="toolkit",
            rule="toolkit-unconfigured",
            state="error",
            found=text,
            needed="the runtime `nvidia` in the engine's configuration",
            mend=mending.configure(),
            source=mending.TOOLKIT,
        )
    else:
        yield _no_toolkit("NVIDIA's container toolkit is not installed: the engine cannot give GPUs to containers")


def _no_toolkit(text: str) -> Check:
    return Check(
        name="toolkit",
        rule="toolkit-missing",
        state="error",
        found=text,
        needed="NVIDIA's container toolkit",
        mend=mending.toolkit(),
        source=mending.TOOLKIT,
    )


def shm(found: machine.Machine, want: Wanted) -> Iterator[Check]:
    """The shared memory of the embedded server's models."""
    if want.runtime == "docker":
        return
    if found.shm is None:
        yield _lost("shm", found)
    elif found.shm.free >= _SHM:
        yield Check(name="shm", rule="shm", state="ok", found=f"{_gib(found.shm.free)} free in {found.shm.folder}")
    else:
        text = f"{_gib(found.shm.free)} of {_gib(found.shm.size)} free in {found.shm.folder}"
        needed = f"{_gib(_SHM)}, through which the embedded server's models get their tensors"
        mend = (mending.Mend(system="any", commands=("sudo mount -o remount,size=2g /dev/shm",)),)
        yield Check(name="shm", rule="shm-small", state="warning", found=text, needed=needed, mend=mend)


def ports(found: machine.Machine, _want: Wanted) -> Iterator[Check]:
    """Whether the server can listen where it shall."""
    if found.ports is None:
        if "ports" in found.unknown:
            yield _lost("ports", found)
        return
    taken = [port for port in found.ports if not port.free]
    for port in taken:
        text = f"the {port.name} port {port.number} is in use"
        needed = "a port that nobody else listens on: fine where it is this project's own server"
        mend = mending.port(port.number)
        yield Check(name="ports", rule="port-in-use", state="warning", found=text, needed=needed, mend=mend)
    if not taken:
        text = f"{', '.join(f'{port.name} {port.number}' for port in found.ports)} are free"
        yield Check(name="ports", rule="ports", state="ok", found=text)


def python(found: machine.Machine, want: Wanted) -> Iterator[Check]:
    """The environment that has torch, and its interpreter."""
    known = found.python
    if known is None or not known.version:
        yield _lost("python", found)
        return
    text = f"Python {known.version} ({known.program})"
    if known.library or want.runtime == "docker":
        yield Check(name="python", rule="python", state="ok", found=text)
    else:
        yield Check(
            name="python",
            rule="python-library",
            state="error" if want.runtime == "embedded" else "warning",
            found=f"{text} has no shared library",
            needed="libpython of the same version, for the embedded server's models",
            mend=mending.library(known.version),
        )
    if known.torch:
        yield Check(name="torch", rule="torch", state="ok", found=f"torch {known.torch}")
    else:
        needed = "PyTorch, to export models and to serve them without Docker; nox makes it where it is needed"
        yield Check(
            name="torch",
            rule="torch-missing",
            state="warning",
            found=f"{known.program} has no torch",
            needed=needed,
            mend=mending.environment(),
        )


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
