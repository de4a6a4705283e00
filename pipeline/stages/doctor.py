"""Doctor: what a machine is fit for, this one or one that was told."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from pipeline import edges
from pipeline.core import compat, doctor, errors, formats, gpu, layout, lock, machine, matrix, spec
from pipeline.edges import archives, environments, facts, store
from pipeline.edges import machine as machines

_VERSION = re.compile(r"[0-9]{3,4}(?:\.[0-9]{1,4}){0,3}", re.ASCII)
_NAME = 128
_MODEL = "model.pt"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked on the command line: an image or tag to judge, another machine's driver and GPUs, advice."""

    image: str | None = None
    driver: str | None = None
    gpus: tuple[str, ...] = ()
    recommend: bool = False


def examine(
    project: edges.Project,
    target: spec.Target | None,
    asked: Asked,
    *,
    artifacts: Sequence[formats.Artifact] = (),
) -> doctor.Diagnosis:
    """The diagnosis of this machine, or of the one whose driver or GPUs were told. `target` is None without a spec.

    Raises InvalidSpec for an image, driver or GPU that is none.
    """
    told = asked.driver is not None or bool(asked.gpus)
    want = doctor.wanted(target, named=asked.image, told=told, artifacts=artifacts, recommend=asked.recommend)
    found = _told(asked) if told else _found(project, target)
    return doctor.examine(found, releases(), want)


def artifacts(
    declared: spec.Spec, locked: lock.Lock | None, stored: store.Store, *, torch: str
) -> tuple[formats.Artifact, ...]:
    """Every version's artifact, as an image must load it; TorchScript with its operators, where it is built already.

    `torch` is the version that artifacts are made with; an adopted file's is unknown.
    """
    row = compat.find(declared.target.image, releases())
    found = layout.artifacts(declared, torch=torch, row=row)
    pinned = [lock.version(locked, each.model or "", each.version or 0) for each in found]
    return tuple(
        msgspec.structs.replace(each, operators=_operators(there, stored)) if each.format == "torchscript" else each
        for each, there in zip(found, pinned, strict=True)
    )


def _operators(locked: lock.Version | None, stored: store.Store) -> tuple[str, ...] | None:
    """The operators of a locked artifact; None where it is not built, or lies elsewhere."""
    path = stored.path(locked.key) / _MODEL if locked else None
    return archives.operators(path) if path and path.is_file() else None


def releases() -> tuple[matrix.Row, ...]:
    """The release matrix that ships with the program."""
    return matrix.parse(facts.releases())


def _found(project: edges.Project, target: spec.Target | None) -> machine.Machine:
    try:
        interpreter = environments.interpreter(project.root)
    except errors.Unfit:
        interpreter = None
    address = target.container.address if target and target.runtime == "docker" else "127.0.0.1"
    return machines.probe(interpreter=interpreter, ports=target.ports if target else None, address=address)


def _told(asked: Asked) -> machine.Machine:
    """Another machine: its driver and GPUs. What was told of neither is unknown."""
    if asked.driver is not None and not _VERSION.fullmatch(asked.driver):
        msg = f"{asked.driver[:40]!a} is not the version of an NVIDIA driver"
        raise errors.InvalidSpec(msg, hint="Write it as `nvidia-smi` shows it: 535.104.05.")
    for name in asked.gpus:
        if not name.isprintable() or not 0 < len(name) <= _NAME:
            msg = f"{name[:40]!a} is not the name of a GPU"
            raise errors.InvalidSpec(msg, hint='Write it as `nvidia-smi -L` shows it: "NVIDIA A100-SXM4-80GB".')
    gpus = tuple(machine.Gpu(name=name, capability=gpu.capability(name)) for name in asked.gpus)
    driver = machine.Driver(state="works", version=asked.driver or "", gpus=gpus)
    return machine.Machine(driver=driver, given=True)
