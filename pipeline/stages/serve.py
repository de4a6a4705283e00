"""Serve: moves the running Triton to what is wanted, and returns when every version answers a real inference.

What is wanted was decided before; which process, and how it is asked, is the edges' business.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline import edges
from pipeline.core import build, diff, errors, findings, spec, state
from pipeline.edges import embedded, repository, triton

NEXT = "next"
"""Where, in the folder of the running server, the one that is to replace it has its record."""

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
    )


def serve(  # noqa: PLR0913 - what is wanted, and what that changes
    project: edges.Project,
    declared: spec.Spec,
    wanted: state.Server,
    planned: embedded.Launch,
    changes: Sequence[diff.Change],
    *,
    say: edges.Say,
) -> None:
    """Makes these changes to the live server: models are loaded and unloaded in the running one, which is left
    alone otherwise; what only another server can change starts that one.

    Raises PipelineError, with a finding for each model that could not be served. A server that was started here is
    gone then, with all that is its own; one that ran before goes on serving what it could.
    """
    acts = {change.act for change in changes if change.kind is diff.Kind.SERVER}
    loads = [change for change in changes if change.kind is diff.Kind.LOAD]
    running = embedded.find(project.run)
    mute = any(change.fields for change in changes if change.kind is diff.Kind.SERVER)
    if acts and running is not None and mute:
        # Beside it the new server would lose each connection that the kernel hands the old one.
        embedded.stop(running, timeout=0, say=say)
        start(project.run, declared, wanted.models, planned, say=say)
    elif acts and running is not None:
        _replace(running, declared, wanted.models, planned, say)
    elif acts:
        start(project.run, declared, wanted.models, planned, say=say)
    elif loads and running is not None:
        names = [change.subject for change in loads if change.act is not diff.Act.REMOVE]
        gone = [change.subject for change in loads if change.act is diff.Act.REMOVE]
        change(running, declared, wanted.models, planned.repository, changed=names, gone=gone, say=say)


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


def _replace(
    old: embedded.Running,
    declared: spec.Spec,
    wanted: Mapping[str, state.Live],
    planned: embedded.Launch,
    say: edges.Say,
) -> None:
    """Another server in the old one's place: started beside it and proven, if the machine can do that.

    Raises what `start` raises; the old server goes on serving then, unless the two could not run side by side.
    """
    same = (old.ports.http, old.ports.grpc) == (planned.ports.http, planned.ports.grpc)
    apart = not {*_numbers(old.ports)} & {*_numbers(planned.ports)}
    if apart or (same and embedded.alive(old) and embedded.handover.able(old)):
        _beside(old, declared, wanted, planned, say)
    else:
        say("the two servers cannot share a port here: requests fail until the new one is ready")
        embedded.stop(old, timeout=old.stop_timeout, say=say)
        start(old.run, declared, wanted, planned, say=say)


def _beside(
    old: embedded.Running,
    declared: spec.Spec,
    wanted: Mapping[str, state.Live],
    planned: embedded.Launch,
    say: edges.Say,
) -> None:
    """The new server is started beside the old one and proven, then takes its connections over."""
    shared = old.ports.http == planned.ports.http
    try:
        if shared:
            embedded.handover.hold(old)
        new = start(old.run / NEXT, declared, wanted, planned, say=say, beside=old)
        if shared:
            embedded.handover.switch(old)
    except BaseException:
        if shared:
            embedded.handover.resume(old)
        raise
    say("the new server takes over")
    if shared:
        left = embedded.handover.drain(old, timeout=old.stop_timeout)
        if left.http or left.grpc:
            say(f"{left.http} HTTP and {left.grpc} gRPC connections did not end in time: they are cut")
    embedded.stop(old, timeout=old.stop_timeout, say=say)
    embedded.handover.release(new)
    embedded.adopt(new, old.run)


def recover(run: Path, say: edges.Say) -> None:
    """Ends what a run that died while it replaced a server has left: one server stays, the old one where it lives."""
    new = embedded.find(run / NEXT)
    old = embedded.find(run)
    if old is not None and (new is not None or embedded.recorded(run / NEXT)):
        say("a server that was to take over is ended: the old one goes on")
        embedded.tidy(run / NEXT)
        embedded.handover.resume(old)
    elif new is not None:
        embedded.tidy(run)
        embedded.handover.release(new)
        embedded.adopt(new, run)


def _numbers(ports: spec.Ports) -> tuple[int, int, int]:
    return ports.http, ports.grpc, ports.metrics


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
        _prove(running, client, declared, wanted)
        _wait(running, embedded.listening, deadline, limit, say)
        running = _remember(running, client, planned.repository, wanted)
    except BaseException:
        # Ctrl-C too: what was started here and does not serve is not left behind.
        embedded.kill(running)
        raise
    say(f"every version answers: {_names(wanted)}")
    return running


def change(  # noqa: PLR0913 - what is wanted, and where
    running: embedded.Running,
    declared: spec.Spec,
    wanted: Mapping[str, state.Live],
    folder: Path,
    *,
    changed: Sequence[str],
    gone: Sequence[str],
    say: edges.Say,
) -> None:
    """Loads and unloads in the running server. A load over a loaded model switches without a failed request.

    Raises PipelineError, with a finding for each model that is not what is wanted, or does not answer.
    """
    limit = declared.target.ready_timeout
    client = triton.Client(port=running.ports.http, timeout=limit)
    client.expect(running.name)
    for name in changed:
        say(f"loading {name}")
        repository.renew(folder, name)
        try:
            client.load(name, timeout=limit)
        except errors.PipelineError as error:
            raise _failed(running, [_finding(name, None, embedded.reason(error.message))], error.message) from error
    for name in gone:
        say(f"unloading {name}")
        client.unload(name, timeout=limit)
    _prove(running, client, declared, {name: wanted[name] for name in changed})
    _remember(running, client, folder, changed, gone)


def _remember(
    running: embedded.Running, client: triton.Client, folder: Path, names: Iterable[str], gone: Iterable[str] = ()
) -> embedded.Running:
    """Writes down what was loaded and seen to answer, so that a later look tells what was changed since."""
    seen = {
        name: embedded.Loaded(folder=repository.identity(folder, name), config=build.digest(client.config(name)))
        for name in names
    }
    kept = {name: known for name, known in running.loaded.items() if name not in set(gone)}
    return embedded.remember(running, kept | seen)


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
            raise _failed(running, _from_log(running), "Triton ended while it started")
        if time.monotonic() > deadline:
            msg = f"Triton was not ready within {limit:g} s (target.ready_timeout)"
            raise _failed(running, _from_log(running), msg)
        if time.monotonic() - spoken > _SPEAK:
            spoken = time.monotonic()
            say("Triton is loading")
        time.sleep(_TICK)


def _check_live(running: embedded.Running, client: triton.Client) -> None:
    if not client.live():
        raise _failed(running, _from_log(running), "Triton listens and is not live")


def _prove(
    running: embedded.Running,
    client: triton.Client,
    declared: spec.Spec,
    wanted: Mapping[str, state.Live],
) -> None:
    """Every wanted version is READY with the wanted digest, and answers. Raises PipelineError."""
    known = {(status.name, status.version): status for status in client.index()}
    found: list[findings.Finding] = []
    for name, model in wanted.items():
        for version in model.versions:
            status = known.get((name, version)) or known.get((name, None))
            if status is None or status.state != "READY":
                why = embedded.reason(status.reason) if status else ""
                found.append(_finding(name, version, why or "Triton does not have it"))
    if found:
        raise _failed(running, [*found, *_from_log(running, {finding.model for finding in found})], "")
    for name, model in wanted.items():
        digest = client.digest(name)
        if digest != model.digest:
            why = f"the live config has the digest {digest}, expected {model.digest}"
            found.append(_finding(name, None, why, rule="stale-model"))
            continue
        found += [answer for version in model.versions if (answer := _ask(client, declared, name, version))]
    if found:
        raise _failed(running, found, "")


def _ask(client: triton.Client, declared: spec.Spec, name: str, version: int) -> findings.Finding | None:
    """Asks one version with the smallest tensors that the spec allows; of a model that it does not know, nothing."""
    model = declared.models.get(name)
    if model is None:
        return None
    sizes = {axis: bounds.min for axis, bounds in model.axes.items()}
    tensors = [
        triton.Question(
            name=key,
            dtype=tensor.dtype,
            shape=tuple(size if isinstance(size, int) else sizes.get(size, 1) for size in tensor.shape),
        )
        for key, tensor in model.inputs.items()
    ]
    try:
        client.answers(name, version, tensors)
    except errors.PipelineError as error:
        return _finding(name, version, embedded.reason(error.message), rule="model-does-not-answer")
    return None


def _from_log(running: embedded.Running, models: Iterable[str | None] | None = None) -> list[findings.Finding]:
    """The reasons in the server's log; with `models`, only those about the configs of these."""
    found = embedded.faults(running.log)
    if models is not None:
        asked = set(models)
        found = tuple(fault for fault in found if fault.model in asked and fault.version is None)
    return [_finding(fault.model, fault.version, fault.reason) for fault in found]


def _finding(model: str | None, version: int | None, why: str, rule: str = "model-not-served") -> findings.Finding:
    return findings.Finding(rule=rule, message=why, model=model, version=version)


def _failed(running: embedded.Running, found: Iterable[findings.Finding], message: str) -> errors.PipelineError:
    """The error with all findings, and the log's last lines where there is no finding to show."""
    found = tuple(dict.fromkeys(found))
    first = found[0] if found else None
    if first is not None and first.model is not None:
        place = f"{first.model} version {first.version}" if first.version else first.model
        message = f"Triton does not serve {place}: {first.message}"
    elif first is not None:
        message = f"{message}: {first.message}"
    details = () if found else embedded.tail(running.log)
    hint = f"The whole log is {running.log}."
    return errors.PipelineError(message, hint=hint, details=details, found=found)


def _names(models: Mapping[str, state.Live]) -> str:
    return ", ".join(f"{name} {'/'.join(map(str, model.versions))}" for name, model in models.items()) or "no models"
