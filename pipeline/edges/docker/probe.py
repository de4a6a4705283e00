"""Asks an image what it is: its variables by the engine, the rest by a container that is gone when it has answered.

An answer is kept in a folder under the image's id, which names the very bytes: no image is run for it twice.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from pathlib import Path

import msgspec

from pipeline import edges
from pipeline.core import build, errors, image_facts
from pipeline.edges import files
from pipeline.edges.docker import containers, images
from pipeline.edges.docker import engine as engines

LIMIT = 20.0
"""Seconds for the container to answer: a large image's first start reads from a cold disk."""

_MOST = 1 << 20
_TICK = 0.02
_OLD = 600
"""Seconds after which a container that only asks belongs to nobody any more."""


def tell(reference: str, found: images.Image, *, folder: Path | None, say: edges.Say) -> image_facts.Told:
    """What the image tells: out of `folder` where it was asked before, else by running it once.

    Where nothing can be run in it, its variables are all that is known. Raises PipelineError where the engine does not
    do it, or the image does not answer in time.
    """
    known = None if folder is None else _kept(folder, found.id)
    if known is not None:
        return known
    say(f"asking the image {reference} itself, once: some seconds")
    with engines.connect() as engine:
        _sweep(engine)
        said = _run(engine, reference, found)
    variables = {name: found.environment[name] for name in image_facts.VARIABLES if name in found.environment}
    told = image_facts.Told(id=found.id, variables=variables, inside=image_facts.answer(said))
    if folder is not None and told.inside is not None:
        with contextlib.suppress(errors.PipelineError):  # where nothing can be kept it is asked again
            files.write(_place(folder, found.id), msgspec.json.format(build.canonical(told), indent=2) + b"\n")
    return told


def _place(folder: Path, identity: str) -> Path:
    return folder / f"{identity.rpartition(':')[2]}.json"


def _kept(folder: Path, identity: str) -> image_facts.Told | None:
    """The answer that was kept; None where there is none, or it is damaged, or of another image."""
    with contextlib.suppress(errors.PipelineError, msgspec.DecodeError, UnicodeDecodeError):
        text = files.read(_place(folder, identity), _MOST)
        told = None if text is None else msgspec.json.decode(text, type=image_facts.Told)
        return told if told is not None and told.id == identity else None
    return None


def _run(engine: engines.Engine, reference: str, found: images.Image) -> str:
    """What a container of it says before it ends, or nothing where its program cannot be started."""
    name = f"triton-question-{secrets.token_hex(4)}"
    try:
        started = containers.run(engine, image_facts.question(name, reference, found.id), say=lambda _: None)
    except errors.Unfit as error:
        if "the image has no" in error.message:
            return ""
        raise
    try:
        deadline = time.monotonic() + LIMIT
        while (now := containers.look(engine, started.id)) is not None and now.state.running:
            if time.monotonic() > deadline:
                msg = f"the image {reference} did not answer within {LIMIT:g} s"
                raise errors.PipelineError(msg, hint="Run it by hand and see: docker run --rm IMAGE python3 --version.")
            time.sleep(_TICK)
        with engines.asking(engine, "show the log"):
            raw: bytes = engine.api.logs(started.id, stdout=True, stderr=False)
        return raw[-_MOST:].decode("utf-8", "replace")
    finally:
        containers.remove(engine, started.id)


def _sweep(engine: engines.Engine) -> None:
    """Removes the containers of runs that were killed while they asked."""
    with engines.asking(engine, "list containers"):
        known = engine.api.containers(all=True, filters={"label": image_facts.LABEL})
        old = [str(each["Id"]) for each in known if each["Created"] < time.time() - _OLD]
    for identity in old:
        containers.remove(engine, identity)
