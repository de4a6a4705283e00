"""Doctor: what a machine is fit for, this one or one that was told."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from pipeline import edges
from pipeline.core import compat, doctor, errors, formats, gpu, image, image_facts, lock, machine, matrix, spec, writing
from pipeline.edges import archives, docker, environments, facts, store
from pipeline.edges import machine as machines
from pipeline.edges.docker import probe

_VERSION = re.compile(r"[0-9]{3,4}(?:\.[0-9]{1,4}){0,3}", re.ASCII)
_NAME = 128
_MODEL = "model.pt"
_PATIENCE = 0.5


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
    say: edges.Say,
    artifacts: Sequence[formats.Artifact] = (),
) -> doctor.Diagnosis:
    """The diagnosis of this machine, or of the one whose driver or GPUs were told. `target` is None without a spec.

    An image that the engine has is asked itself: what it tells beats the matrix. Raises InvalidSpec for an image,
    driver or GPU that is none.
    """
    elsewhere = asked.driver is not None or bool(asked.gpus)
    want = doctor.wanted(target, named=asked.image, told=elsewhere, artifacts=artifacts, recommend=asked.recommend)
    reference = image.parse(want.image) if want.image else None
    found = told(asked) if elsewhere else _found(project, target)
    rows = releases()
    probed = None
    if reference is not None and doctor.judges_image(want) and found.engine and found.engine.state == "running":
        probed = _ask(project, reference, rows, keep=target is not None, say=say)
    return doctor.examine(found, rows, want, probed=probed)


def _ask(
    project: edges.Project, reference: image.Reference, rows: Sequence[matrix.Row], *, keep: bool, say: edges.Say
) -> matrix.Row | None:
    """What the image itself tells, where the engine has it. The answer is kept where there is a project to keep it."""
    try:
        with docker.connect(timeout=_PATIENCE) as engine:
            known = docker.find_image(engine, str(reference))
        if known is None:
            return None
        told = probe.tell(str(reference), known, folder=project.images if keep else None, say=say)
        return image_facts.row(reference, rows, told)
    except errors.PipelineError as error:
        say(f"{reference} was not asked itself: {error.message}")
        return None


def artifacts(
    declared: spec.Spec, locked: lock.Lock | None, stored: store.Store, *, torch: str | None
) -> tuple[formats.Artifact, ...]:
    """Every version's artifact, as an image must load it; TorchScript with its operators, where it is built already.

    `torch` is the version that artifacts are made with; an adopted file's is unknown.
    """
    row = compat.find(declared.target.image, releases())
    found = writing.artifacts(declared, torch=torch, row=row)
    pinned = [lock.version(locked, each.model or "", each.version or 0) for each in found]
    return tuple(
        msgspec.structs.replace(each, operators=_operators(there, stored)) if each.format == "torchscript" else each
        for each, there in zip(found, pinned, strict=True)
    )


def _operators(locked: lock.Version | None, stored: store.Store) -> tuple[str, ...] | None:
    """The operators of a locked artifact; None where it is not built, lies elsewhere, or cannot be read."""
    path = stored.path(locked.key) / _MODEL if locked else None
    if path is None or not path.is_file():
        return None
    try:
        return archives.operators(path)
    except errors.PipelineError:
        return None  # whether it is whole is for others to find out


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


def told(asked: Asked) -> machine.Machine:
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
