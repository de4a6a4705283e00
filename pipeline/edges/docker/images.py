"""Images: looked up on the engine, and pulled with progress, within a time limit.

The engine keeps what it has got of an image, layer by layer: a pull that broke off goes on where it was. Credentials
are Docker's own business: the SDK takes them from Docker's configuration, and nobody here sees them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

import pipeline
from pipeline import edges
from pipeline.core import errors, image
from pipeline.edges.docker import engine as engines
from pipeline.edges.docker import form

CPU = f"{image.OWN}:{pipeline.__version__}"
"""The pipeline's own image, for machines without a GPU; `build` makes it."""

_SPEAK = 5.0
_PAUSES = (1.0, 5.0, 15.0, 30.0)
"""Seconds between the tries of a pull."""

_LASTING = {
    "unauthorized": "Log in with `docker login` at its registry.",
    "authentication required": "Log in with `docker login` at its registry.",
    "denied": "Log in with `docker login` at its registry, or check the name: registries call both the same.",
    "manifest unknown": "Check the name and the tag.",
    "not found": "Check the name and the tag.",
    "does not exist": "Check the name and the tag.",
    "invalid reference": "A reference is NAME:TAG or NAME:TAG@sha256:DIGEST.",
    "no matching manifest": "It is not made for this machine's architecture.",
    "no space left": "See what takes the engine's disk with `docker system df`.",
    "toomanyrequests": "The registry limits pulls: log in with `docker login`, or wait.",
}
"""What no second try changes, and what does."""


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image on the engine. `id` is the digest of its config, `digests` what registries know it by
    (`NAME@sha256:...`; none for an image that was built here), `size` in bytes."""

    id: str
    digests: tuple[str, ...]
    os: str
    architecture: str
    environment: dict[str, str]
    labels: dict[str, str]
    size: int


class _Progress:
    """What a pull has got so far, told every few seconds."""

    def __init__(self, say: edges.Say, reference: str) -> None:
        self._say, self._reference = say, reference
        self._layers: dict[str, tuple[int, int]] = {}
        self._done: set[str] = set()
        self._spoken = time.monotonic()

    def take(self, event: dict[str, Any]) -> None:
        """One event of the engine. Raises _Broken where it is an error."""
        if "error" in event:
            raise _Broken(str((event.get("errorDetail") or {}).get("message") or event["error"]))
        layer, status, detail = event.get("id"), str(event.get("status", "")), event.get("progressDetail") or {}
        if not layer or status.startswith("Pulling from"):
            return
        self._layers.setdefault(str(layer), (0, 0))
        if status == "Downloading" and detail.get("total"):
            self._layers[str(layer)] = (int(detail.get("current", 0)), int(detail["total"]))
        elif status in {"Download complete", "Pull complete", "Already exists"}:
            total = self._layers[str(layer)][1]
            self._layers[str(layer)] = (total, total)
            self._done |= {str(layer)} if status != "Download complete" else set()
        if time.monotonic() - self._spoken >= _SPEAK:
            self._spoken = time.monotonic()
            got, total = (sum(each[index] for each in self._layers.values()) for index in (0, 1))
            self._say(
                f"pulling {self._reference}: {got / 1e9:.2f} of {total / 1e9:.2f} GB known so far, "
                f"{len(self._done)} of {len(self._layers)} layers done"
            )


class _Broken(Exception):
    """A pull that the engine gave up, with its words."""


def find(engine: engines.Engine, reference: str) -> Image | None:
    """The image that a reference or an id names, None where the engine has none. Raises Unfit without an engine."""
    from docker.errors import NotFound  # noqa: PLC0415

    with engines.asking(engine, "show an image"):
        try:
            told = engine.api.inspect_image(reference)
        except NotFound:
            return None
        config = told.get("Config") or {}
        return Image(
            id=told["Id"],
            digests=tuple(sorted(told.get("RepoDigests") or ())),
            os=told["Os"],
            architecture=told["Architecture"],
            environment=form.variables(config.get("Env")),
            labels=dict(config.get("Labels") or {}),
            size=told["Size"],
        )


def digest(engine: engines.Engine, reference: str) -> str:
    """The digest that the registry has under a name, with nothing pulled; empty where it cannot be asked."""
    from docker.errors import APIError  # noqa: PLC0415

    with engines.asking(engine, "ask the registry"):
        try:
            told = engine.api.inspect_distribution(reference)
        except APIError:
            return ""
        return str(told["Descriptor"]["digest"])


def pull(engine: engines.Engine, reference: str, *, limit: float, say: edges.Say) -> Image:
    """Gets an image, within `limit` seconds, a connection that breaks tried again.

    Raises Unfit where the registry has it not, does not let this user in, or is not reached, where it is made for
    another machine, or where the time is up: the next pull then goes on from there.
    """
    deadline = time.monotonic() + limit
    say(f"pulling {reference}")
    progress = _Progress(say, reference)
    for pause in _waits():
        try:
            _try(engine, reference, progress, deadline, limit)
            break
        except _Broken as broken:
            words = engines.clean(str(broken))
            hint = next((hint for part, hint in _LASTING.items() if part in words.lower()), None)
            if hint is None and pause is not None and time.monotonic() + pause < deadline:
                say(f"the pull broke off ({words}); trying again in {pause:g} s")
                time.sleep(pause)
                continue
            msg = f"could not pull {reference}: {words}"
            hint = hint or (
                "Check the connection to the registry; what was got is kept, and the next pull goes on. "
                "An image from another machine comes in a file: `docker save` there, `docker load` here."
            )
            raise errors.Unfit(msg, hint=hint) from broken
    found = find(engine, reference)
    if found is None:
        msg = f"the engine pulled {reference}, and does not have it"
        raise errors.Unfit(msg, hint="Somebody may have removed it at once; run this again.")
    _check_machine(engine, reference, found)
    return found


def _try(engine: engines.Engine, reference: str, progress: _Progress, deadline: float, limit: float) -> None:
    from docker.errors import APIError  # noqa: PLC0415

    with engines.asking(engine, f"pull {reference}"):
        try:
            events = engine.api.pull(reference, stream=True, decode=True)
        except APIError as error:
            raise _Broken(str(error.explanation or error)) from error
        for event in events:
            progress.take(event)
            if time.monotonic() > deadline:
                events.close()
                msg = f"pulling {reference} took longer than {limit:g} s"
                raise errors.Unfit(msg, hint="Run it again: the layers that were got are kept.")


def _waits() -> Iterator[float | None]:
    """The pause after each try, None after the last."""
    yield from _PAUSES
    yield None


def _check_machine(engine: engines.Engine, reference: str, found: Image) -> None:
    facts = engines.facts(engine)
    mine, theirs = f"{facts.os}/{facts.architecture}", f"{found.os}/{found.architecture}"
    if mine != theirs:
        msg = f"{reference} is made for {theirs}, and the engine's machine is {mine}"
        raise errors.Unfit(msg, hint="Name an image that is made for it.")
