"""A new server, from the spec to its first answers; nothing is left of one that does not get there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pipeline import edges
from pipeline.core import spec, state
from pipeline.edges import embedded, triton
from pipeline.stages.serve import proof

_TICK = 0.02
_SPEAK = 10.0


def launch(project: edges.Project, declared: spec.Spec, python: Path) -> embedded.Launch:
    """The server that the spec asks for; only the repository's and the interpreter's places come from outside it."""
    return embedded.Launch(
        repository=project.repository,
        backends=project.state / "backends",
        python=python,
        ports=declared.target.ports,
        models=tuple(sorted(declared.models)),
        stop_timeout=declared.target.stop_timeout,
        foreign=any(spec.has_folders(model) for model in declared.models.values()),
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

    `beside` is a server that it shares ports with. Raises PipelineError, and the server is gone, where they do not
    answer within `target.ready_timeout` seconds.
    """
    limit = declared.target.ready_timeout
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
