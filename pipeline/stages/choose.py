"""Choose: which runtime serves, and with which image; the lock's pin of that image, and how it gets here."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pipeline import edges
from pipeline.core import build, errors, image, lock, platforms, spec
from pipeline.edges import docker, embedded, environments, record, runtimes

_ASK = 2.0
_PULL = 7200.0
"""Seconds that a pull may take: the images of NVIDIA have ten gigabytes."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is to run, and why there. For `docker`: what the image is called, how the engine finds it (the
    pinned digest, the pinned id, or the name), and its id, empty where the engine has not got it. `own` is the CPU
    image of the pipeline, which knows no GPU."""

    runtime: str
    why: str
    image: str = ""
    reference: str = ""
    image_id: str = ""
    own: bool = False


def choose(project: edges.Project, target: spec.Target, pinned: lock.Image | None) -> Choice:
    """The runtime of the spec. With `auto` a server that runs stays where it is; for a new one the engine is asked.

    Raises Unfit where the spec wants an engine and none answers.
    """
    if target.runtime == "docker":
        return _docker(target, pinned, "target.runtime says so")
    if target.runtime == "embedded":
        return Choice(runtime="embedded", why="target.runtime says so")
    known = record.read(project.run)
    if known is not None and known.runtime == "embedded":
        return Choice(runtime="embedded", why="the server that was started last is")
    return _auto(target, pinned)


def _auto(target: spec.Target, pinned: lock.Image | None) -> Choice:
    """Docker where an engine and an image are there, else embedded."""
    from pipeline.edges import machine  # noqa: PLC0415 - where nothing is to be chosen, nothing is probed

    found = machine.ask_engine(_ASK)
    if found.state != "running":
        words = {"missing": "no Docker engine answers", "denied": "this user may not use the Docker engine"}
        why = words.get(found.state, "the Docker engine does not answer as it should")
        return Choice(runtime="embedded", why=f"{why} at {found.address}")
    wanted = _docker(target, pinned, f"the engine has the image {target.image}")
    if wanted.image_id:
        return wanted
    own = _find(docker.CPU)
    if own is not None and not machine.has_gpu(_ASK):
        why = f"there is no GPU and no {target.image} here, and the engine has {docker.CPU}"
        return Choice(runtime="docker", why=why, image=docker.CPU, reference=docker.CPU, image_id=own.id, own=True)
    return Choice(runtime="embedded", why=f"the Docker engine has no image {target.image}")


def launch(
    project: edges.Project, declared: spec.Spec, choice: Choice, *, release: str = "", python: Path | None = None
) -> runtimes.Launch:
    """The server that the spec asks for, where it was chosen to run."""
    if choice.runtime == "docker":
        target = msgspec.structs.replace(declared.target, gpus="none") if choice.own else declared.target
        return docker.Launch(
            repository=project.repository,
            ports=target.ports,
            models=tuple(sorted(declared.models)),
            target=target,
            image=choice.image,
            image_id=choice.image_id,
            project=build.digest(str(project.root)),
            spec=build.digest(declared),
            release=release,
        )
    return embedded.Launch(
        repository=project.repository,
        backends=project.state / "backends",
        python=python or environments.expected(project.root),
        ports=declared.target.ports,
        models=tuple(sorted(declared.models)),
        stop_timeout=declared.target.stop_timeout,
        libraries=environments.serving(project.root, declared),
        foreign=any(_has_python(model) for model in declared.models.values()),
    )


def _has_python(model: spec.Model) -> bool:
    """Whether Python code of a model's own may lie in its folder."""
    return spec.has_folders(model) or platforms.of_model(model).format == "python"


def pin(choice: Choice, old: lock.Image, *, accept: bool, say: edges.Say) -> lock.Image:
    """The lock's pin: the old one where there is one, else the digest that the registry knows the image by, or the id
    of one that was built here. An image that is not pinned yet, and not to be had, stays so. `accept` pins it anew."""
    if choice.runtime != "docker" or choice.own or (old.pinned and not accept):
        return old
    reference = image.parse(old.reference)
    if reference.digest:
        return msgspec.structs.replace(old, digest=reference.digest)
    found = _find(old.reference)
    digest = _digest_of(found, reference) if found else _told(old.reference)
    if digest:
        return lock.Image(reference=old.reference, digest=digest)
    if found:
        return lock.Image(reference=old.reference, id=found.id)
    say(f"{old.reference} is not pinned: the engine does not have it, and its registry does not tell its digest")
    return old


def fetch(choice: Choice, *, say: edges.Say) -> Choice:
    """The choice with its image on the engine: pulled, where it is not there yet.

    Raises Unfit where it is not to be had, or another than the lock pins stands under its name.
    """
    if choice.runtime != "docker" or choice.image_id:
        return choice
    if choice.own or choice.reference.startswith("sha256:"):
        there = _find(choice.image)
        msg = f"the lock pins the image {choice.image} as {choice.reference[:19]}, which the engine does not have"
        hint = f"Under that name it has {there.id[:19]} now: pin that with `lock --accept-image`." if there else _BUILD
        raise errors.Unfit(msg, hint=hint)
    with docker.connect() as engine:
        found = docker.pull(engine, choice.reference, limit=_PULL, say=say)
    return msgspec.structs.replace(choice, image_id=found.id)


_BUILD = "Build it again (`nox -s image` makes the pipeline's own), then pin it with `lock --accept-image`."


def _docker(target: spec.Target, pinned: lock.Image | None, why: str) -> Choice:
    reference = _reference(target.image, pinned)
    found = _find(reference)
    return Choice(
        runtime="docker", why=why, image=target.image, reference=reference, image_id=found.id if found else ""
    )


def _reference(name: str, pinned: lock.Image | None) -> str:
    """How the engine finds exactly the pinned image: by digest, by id; by its name where nothing is pinned."""
    if pinned is None or pinned.reference != name or not pinned.pinned:
        return name
    return pinned.id or f"{image.parse(name).repository}@{pinned.digest}"


def _find(reference: str) -> docker.Image | None:
    with docker.connect() as engine:
        return docker.find_image(engine, reference)


def _digest_of(found: docker.Image, reference: image.Reference) -> str:
    """The digest by which the image's own registry knows it; empty for one that comes from none."""
    names = (each.partition("@") for each in found.digests)
    return next((digest for name, _, digest in names if _familiar(name) == _familiar(reference.repository)), "")


def _familiar(name: str) -> str:
    """A repository's name as Docker shows it: its own registry's is left away."""
    return name.removeprefix("docker.io/").removeprefix("library/")


def _told(reference: str) -> str:
    with docker.connect() as engine:
        return docker.digest(engine, reference)
