"""Serve: moves the running Triton to what is wanted, and returns when every version answers a real inference.

What is wanted was decided before; which process, and how it is asked, is the edges' business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pipeline import edges
from pipeline.core import errors, findings, spec, state
from pipeline.edges import embedded, triton

RUNTIME = "embedded"
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


def observe(project: edges.Project) -> state.Server | None:
    """The server of this project as it is, or None where none runs. Without a record no socket is opened.

    A server that runs and does not answer as itself has an empty fingerprint: only a new one mends it.
    """
    running = embedded.find(project.run)
    if running is None:
        return None
    client = triton.Client(port=running.ports.http)
    try:
        _identify(running, client)
        return state.Server(runtime=RUNTIME, fingerprint=running.fingerprint, models=_live(client))
    except errors.PipelineError:
        return state.Server(runtime=RUNTIME, fingerprint="", models={})


def serve(
    project: edges.Project, declared: spec.Spec, wanted: state.Server, planned: embedded.Launch, *, say: edges.Say
) -> None:
    """Makes the live server the wanted one: not touched where it is, loaded live where models differ, else new.

    Raises PipelineError, with a finding for each model that could not be served. A server that was started here is
    gone then, with all that is its own; one that ran before goes on serving what it could.
    """
    running = embedded.find(project.run)
    if running is not None and _replace(running, wanted):
        embedded.stop(running, timeout=running.stop_timeout, say=say)
        running = None
    if running is None:
        _start(project, declared, wanted, planned, say)
    else:
        _change(running, declared, wanted, say)


def _replace(running: embedded.Running, wanted: state.Server) -> bool:
    if running.fingerprint != wanted.fingerprint:
        return True
    try:
        _identify(running, triton.Client(port=running.ports.http))
    except errors.PipelineError:
        return True
    return False


def _start(
    project: edges.Project, declared: spec.Spec, wanted: state.Server, planned: embedded.Launch, say: edges.Say
) -> None:
    running = embedded.start(planned, run=project.run, say=say)
    try:
        deadline = time.monotonic() + declared.target.ready_timeout
        client = triton.Client(port=running.ports.http, timeout=declared.target.ready_timeout)
        _wait(running, embedded.answering, deadline, declared.target.ready_timeout, say)
        _check_live(running, client)
        _identify(running, client)
        _prove(running, client, declared, wanted.models, wanted.models)
        _wait(running, embedded.listening, deadline, declared.target.ready_timeout, say)
    except BaseException:
        # Ctrl-C too: what was started here and does not serve is not left behind.
        embedded.kill(running)
        raise
    say(f"every version answers: {_names(wanted.models)}")


def _change(running: embedded.Running, declared: spec.Spec, wanted: state.Server, say: edges.Say) -> None:
    """Loads and unloads in the running server. A load over a loaded model switches without a failed request."""
    limit = declared.target.ready_timeout
    client = triton.Client(port=running.ports.http, timeout=limit)
    live = _live(client)
    changed = [name for name, model in wanted.models.items() if live.get(name) != model]
    for name in changed:
        say(f"loading {name}")
        try:
            client.load(name, timeout=limit)
        except errors.PipelineError as error:
            raise _failed(running, [_finding(name, None, embedded.reason(error.message))], error.message) from error
    for name in sorted(live.keys() - wanted.models.keys()):
        say(f"unloading {name}")
        client.unload(name, timeout=limit)
    _prove(running, client, declared, wanted.models, changed)


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
    changed: Iterable[str],
) -> None:
    """Every wanted version is READY with the wanted digest, and the changed ones answer. Raises PipelineError."""
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
    for name in changed:
        digest = client.digest(name)
        if digest != wanted[name].digest:
            why = f"the live config has the digest {digest}, the repository's has {wanted[name].digest}"
            found.append(_finding(name, None, why, rule="stale-model"))
            continue
        found += [answer for version in wanted[name].versions if (answer := _ask(client, declared, name, version))]
    if found:
        raise _failed(running, found, "")


def _ask(client: triton.Client, declared: spec.Spec, name: str, version: int) -> findings.Finding | None:
    """Asks one version with the smallest tensors that the spec allows."""
    model = declared.models[name]
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


def _identify(running: embedded.Running, client: triton.Client) -> None:
    """Raises PipelineError where another server answers on our port."""
    found = client.identity()
    if found.name != running.name:
        msg = (
            f"the Triton that answers on {client.place} is not this project's: its id is {triton.printable(found.name)}"
        )
        raise errors.PipelineError(msg, hint="Stop it, or choose other ports under target.ports.")


def _live(client: triton.Client) -> dict[str, state.Live]:
    """What the server serves: the digest and the READY versions of each model."""
    ready: dict[str, list[int]] = {}
    for status in client.index():
        if status.state == "READY" and status.version is not None:
            ready.setdefault(status.name, []).append(status.version)
    return {
        name: state.Live(digest=client.digest(name), versions=tuple(sorted(versions)))
        for name, versions in sorted(ready.items())
    }


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


def health(project: edges.Project, declared: spec.Spec, name: str, live: state.Live | None) -> str:
    """Healthy, Degraded or Missing: whether every live version of a model answers a real inference."""
    running = embedded.find(project.run)
    if running is None or live is None:
        return "Missing"
    client = triton.Client(port=running.ports.http)
    answers = (_ask(client, declared, name, version) for version in live.versions)
    return "Degraded" if any(answers) else "Healthy"


def describe(project: edges.Project) -> str:
    """The project's server in one line."""
    running = embedded.find(project.run)
    if running is None:
        return "No server of this project runs."
    ports = running.ports
    return f"Triton ({RUNTIME}) pid {running.pid}: http {ports.http}, grpc {ports.grpc}, metrics {ports.metrics}."
