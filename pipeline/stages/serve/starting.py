"""A new server, from the spec to its first answers; nothing is left of one that does not get there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from pipeline import edges
from pipeline.core import errors, platforms, serverlog, spec, state
from pipeline.edges import embedded, environments, handover, ports, record, runtimes, triton
from pipeline.stages.serve import proof

_TICK = 0.05
_ANSWER = 5.0
_SPEAK = 10.0


@contextlib.contextmanager
def candidate(
    run: Path, declared: spec.Spec, wanted: Mapping[str, state.Live], planned: runtimes.Launch, *, say: edges.Say
) -> Iterator[record.Running]:
    """A server to prove models in, on ports that it shares with nobody, gone at the end. Raises what `start` does."""
    runtimes.tidy(run)
    running = _start_apart(run, declared, wanted, planned, say)
    try:
        yield running
    finally:
        runtimes.of(running).kill(running)


def _start_apart(
    run: Path, declared: spec.Spec, wanted: Mapping[str, state.Live], planned: runtimes.Launch, say: edges.Say
) -> record.Running:
    """Another may take a port between the look at it and Triton's start: then it is tried once more, on others."""
    for again in (True, False):
        apart = msgspec.structs.replace(planned, ports=ports.free(), shared=False)
        try:
            return start(run, declared, wanted, apart, say=say)
        except errors.PipelineError:
            if not (again and ports.taken(apart.ports)):
                raise
    raise AssertionError


def start(  # noqa: PLR0913 - what is wanted, and where
    run: Path,
    declared: spec.Spec,
    wanted: Mapping[str, state.Live],
    planned: runtimes.Launch,
    *,
    say: edges.Say,
    beside: record.Running | None = None,
) -> record.Running:
    """Starts a server with its record in `run`, and returns when all of `wanted` answers.

    `beside` is a server that it shares ports with. One that gives up as the machine is too busy for its processes is
    started once more. Raises Unfit where the environment lacks what a format needs, and PipelineError, with the server
    gone, where they do not answer within `target.ready_timeout` seconds.
    """
    if isinstance(planned, embedded.Launch):
        _check_formats(declared, wanted, planned.python)
    for again in (True, False):
        running = runtimes.start(planned, run=run, say=say, beside=beside)
        try:
            return _answered(running, declared, wanted, planned, beside=beside, say=say)
        except BaseException as error:
            # Ctrl-C too: what was started here and does not serve is not left behind.
            try:
                starved = isinstance(error, errors.PipelineError) and _is_starved(running)
            finally:
                runtimes.of(running).kill(running)
            if not (starved and again):
                raise
        say("this machine was too busy for Triton's processes, and it gave up: starting it once more")
    raise AssertionError


def _answered(  # noqa: PLR0913 - what is wanted, and where
    running: record.Running,
    declared: spec.Spec,
    wanted: Mapping[str, state.Live],
    planned: runtimes.Launch,
    *,
    beside: record.Running | None,
    say: edges.Say,
) -> record.Running:
    """The server, with its record written, once all of `wanted` answers."""
    limit = declared.target.ready_timeout
    deadline = time.monotonic() + limit
    source = handover.PROVER if beside and beside.ports.http == planned.ports.http else None
    client = triton.client(running, timeout=limit, source=source)
    asked = msgspec.structs.replace(client, timeout=_ANSWER)
    _wait(running, lambda: runtimes.of(running).answering(running) and _is(running, asked), deadline, limit, say)
    _check_live(running, client)
    proof.prove(running, client, declared, wanted)
    _wait(running, lambda: runtimes.of(running).listening(running), deadline, limit, say)
    made = proof.remember(running, client, planned.repository, wanted)
    say(f"every version answers: {_names(wanted)}")
    return made


def _is_starved(running: record.Running) -> bool:
    kind = runtimes.of(running)
    return not kind.alive(running) and serverlog.is_starved(kind.log(running))


def _check_formats(declared: spec.Spec, names: Iterable[str], python: Path) -> None:
    """Raises Unfit where this server cannot serve a format, or the environment lacks what that takes."""
    found = {name: platforms.of_model(declared.models[name]) for name in names}
    for name, platform in found.items():
        if not platform.embedded:
            msg = f"{name} is for {platform.backend}, which needs NVIDIA's image and a GPU"
            raise errors.Unfit(msg, hint="Serve it there, or leave it out here with --model.")
    environments.check(python, found.values())


def _wait(
    running: record.Running,
    reached: Callable[[], bool],
    deadline: float,
    limit: float,
    say: edges.Say,
) -> None:
    """Waits for the server to get so far. Raises PipelineError where it ends, or takes longer than it may."""
    spoken = time.monotonic()
    while not reached():
        if not runtimes.of(running).alive(running):
            raise proof.failed(running, proof.from_log(running), "Triton ended while it started")
        if time.monotonic() > deadline:
            late = f"was not ready within {limit:g} s (target.ready_timeout)"
            stuck = [
                proof.finding(name, version, f"it {late}")
                for name, version in serverlog.loading(runtimes.of(running).log(running))
            ]
            raise proof.failed(running, [*proof.from_log(running), *stuck], f"Triton {late}")
        if time.monotonic() - spoken > _SPEAK:
            spoken = time.monotonic()
            say("Triton is loading")
        time.sleep(_TICK)


def _is(running: record.Running, client: triton.Client) -> bool:
    """Whether what answers is this server. A foreign one that answers in its place is an error at once."""
    try:
        found = client.identity()
    except errors.PipelineError:
        return False
    if found.name != running.name:
        client.expect(running.name)
    return True


def _check_live(running: record.Running, client: triton.Client) -> None:
    if not client.live():
        raise proof.failed(running, proof.from_log(running), "Triton listens and is not live")


def _names(models: Mapping[str, state.Live]) -> str:
    return ", ".join(f"{name} {'/'.join(map(str, model.versions))}" for name, model in models.items()) or "no models"
