"""A new server, from the spec to its first answers; nothing is left of one that does not get there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pipeline import edges
from pipeline.core import errors, platforms, spec, state
from pipeline.edges import embedded, environments, triton
from pipeline.stages.serve import proof

_TICK = 0.02
_SPEAK = 10.0


def launch(project: edges.Project, declared: spec.Spec, python: Path) -> embedded.Launch:
    """The server that the spec asks for; only the places of repository and interpreter come from outside it, and the
    versions of the libraries that serve its formats."""
    return embedded.Launch(
        repository=project.repository,
        backends=project.state / "backends",
        python=python,
        ports=declared.target.ports,
        models=tuple(sorted(declared.models)),
        stop_timeout=declared.target.stop_timeout,
        libraries=environments.serving(project.root, declared),
    )


@contextlib.contextmanager
def candidate(
    run: Path, declared: spec.Spec, wanted: Mapping[str, state.Live], planned: embedded.Launch, *, say: edges.Say
) -> Iterator[embedded.Running]:
    """A server of its own to prove models in, which is gone at the end. Raises what `start` raises."""
    embedded.tidy(run)
    running = start(run, declared, wanted, planned, say=say)
    try:
        yield running
    finally:
        embedded.kill(running)


def start(  # noqa: PLR0913 - what is wanted, and where
    run: Path,
    declared: spec.Spec,
    wanted: Mapping[str, state.Live],
    planned: embedded.Launch,
    *,
    say: edges.Say,
    beside: embedded.Running | None = None,
) -> embedded.Running:
    """Starts a server with its record in `run`, and returns when all of `wanted` answers.

    `beside` is a server that it shares ports with. Raises Unfit where the environment lacks what a format needs, and
    PipelineError, with the server gone, where they do not answer within `target.ready_timeout` seconds.
    """
    limit = declared.target.ready_timeout
    _check_formats(declared, wanted, planned.python)
    running = embedded.start(planned, run=run, say=say, beside=beside)
    try:
        deadline = time.monotonic() + limit
        source = embedded.handover.PROVER if beside and beside.ports.http == planned.ports.http else None
        client = triton.Client(port=running.ports.http, timeout=limit, source=source)
        _wait(running, embedded.answering, deadline, limit, say)
        _check_live(running, client)
        client.expect(running.name)
        proof.prove(running, client, declared, wanted)
        _wait(running, embedded.listening, deadline, limit, say)
        running = proof.remember(running, client, planned.repository, wanted)
    except BaseException:
        # Ctrl-C too: what was started here and does not serve is not left behind.
        embedded.kill(running)
        raise
    say(f"every version answers: {_names(wanted)}")
    return running


def _check_formats(declared: spec.Spec, names: Iterable[str], python: Path) -> None:
    """Raises Unfit where this server cannot serve a format, or the environment lacks what that takes."""
    found = {name: platforms.of_model(declared.models[name]) for name in names}
    for name, platform in found.items():
        if not platform.embedded:
            msg = f"{name} is for {platform.backend}, which needs NVIDIA's image and a GPU"
            raise errors.Unfit(msg, hint="Serve it there, or leave it out here with --model.")
    environments.check(python, found.values())


def _wait(
    running: embedded.Running,
    reached: Callable[[embedded.Running], bool],
    deadline: float,
    limit: float,
    say: edges.Say,
) -> None:
    """Waits for the server to get so far. Raises PipelineError where it ends, or takes longer than it may."""
    spoken = time.monotonic()
    while not reached(running):
        if not embedded.alive(running):
            raise proof.failed(running, proof.from_log(running), "Triton ended while it started")
        if time.monotonic() > deadline:
            late = f"was not ready within {limit:g} s (target.ready_timeout)"
            stuck = [proof.finding(name, version, f"it {late}") for name, version in embedded.loading(running.log)]
            raise proof.failed(running, [*proof.from_log(running), *stuck], f"Triton {late}")
        if time.monotonic() - spoken > _SPEAK:
            spoken = time.monotonic()
            say("Triton is loading")
        time.sleep(_TICK)


def _check_live(running: embedded.Running, client: triton.Client) -> None:
    if not client.live():
        raise proof.failed(running, proof.from_log(running), "Triton listens and is not live")


def _names(models: Mapping[str, state.Live]) -> str:
    return ", ".join(f"{name} {'/'.join(map(str, model.versions))}" for name, model in models.items()) or "no models"
