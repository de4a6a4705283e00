"""The running server made the wanted one: loaded live where models differ, replaced where only another one will do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline import edges
from pipeline.core import diff, errors, serverlog, spec, state
from pipeline.edges import handover, record, repository, runtimes, triton
from pipeline.stages.serve import proof, starting

_YEAR = 366 * 86_400 * 10**9  # nanoseconds
_AHEAD = (0, _YEAR, 20 * _YEAR, 120 * _YEAR)
NEXT = "next"
"""Where, in the folder of the running server, the one that is to replace it has its record."""


def serve(  # noqa: PLR0913 - what is wanted, and what that changes
    project: edges.Project,
    declared: spec.Spec,
    wanted: state.Server,
    planned: runtimes.Launch,
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
    running = runtimes.find(project.run)
    mute = any(
        each.path == "process" for change in changes if change.kind is diff.Kind.SERVER for each in change.fields
    )
    if acts and running is not None and mute:
        # Beside it the new server would lose each connection that the kernel hands the old one.
        runtimes.of(running).stop(running, timeout=0, say=say)
        starting.start(project.run, declared, wanted.models, planned, say=say)
    elif acts and running is not None:
        _replace(running, declared, wanted.models, planned, say)
    elif acts:
        starting.start(project.run, declared, wanted.models, planned, say=say)
    elif loads and running is not None:
        names = [change.subject for change in loads if change.act is not diff.Act.REMOVE]
        gone = [change.subject for change in loads if change.act is diff.Act.REMOVE]
        change(running, declared, wanted.models, planned.repository, changed=names, gone=gone, say=say)


def change(  # noqa: PLR0913 - what is wanted, and where
    running: record.Running,
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
    client = triton.client(running, timeout=limit)
    client.expect(running.name)
    for name in changed:
        say(f"loading {name}")
        try:
            _load(client, folder, name, wanted[name].digest, limit)
        except errors.PipelineError as error:
            raise proof.failed(
                running, [proof.finding(name, None, serverlog.reason(error.message))], error.message
            ) from error
    for name in gone:
        say(f"unloading {name}")
        client.unload(name, timeout=limit)
    proof.prove(running, client, declared, {name: wanted[name] for name in changed})
    proof.remember(running, client, folder, changed, gone)


def _load(client: triton.Client, folder: Path, name: str, digest: str | None, limit: float) -> None:
    """Loads a model until it is the one that is wanted: where Triton has seen its files in a time to come, as after a
    clock that was set back, and they have lost that time, they are made still newer."""
    for ahead in _AHEAD:
        repository.renew(folder, name, ahead=ahead)
        client.load(name, timeout=limit)
        if client.digest(name) == digest:
            return


def gapless(old: record.Running, planned: runtimes.Launch) -> bool:
    """Whether another server can take this one's place with no failed request: on ports of its own, or on the same
    ones where the two can share them."""
    if not {*_numbers(old.ports)} & {*_numbers(planned.ports)}:
        return True
    same = (old.ports.http, old.ports.grpc) == (planned.ports.http, planned.ports.grpc)
    return same and runtimes.shared(old, planned) and runtimes.of(old).alive(old) and handover.able(old)


def _replace(
    old: record.Running,
    declared: spec.Spec,
    wanted: Mapping[str, state.Live],
    planned: runtimes.Launch,
    say: edges.Say,
) -> None:
    """Another server in the old one's place: started beside it and proven, if the machine can do that.

    Raises what `start` raises; the old server goes on serving then, unless the two could not run side by side.
    """
    if gapless(old, planned):
        _beside(old, declared, wanted, planned, say)
    else:
        say("the two servers cannot share a port here: requests fail until the new one is ready")
        runtimes.of(old).stop(old, timeout=old.stop_timeout, say=say)
        starting.start(old.run, declared, wanted, planned, say=say)


def _beside(
    old: record.Running,
    declared: spec.Spec,
    wanted: Mapping[str, state.Live],
    planned: runtimes.Launch,
    say: edges.Say,
) -> None:
    """The new server is started beside the old one and proven, then takes its connections over."""
    shared = old.ports.http == planned.ports.http
    try:
        if shared:
            handover.hold(old)
        new = starting.start(old.run / NEXT, declared, wanted, planned, say=say, beside=old)
        if shared:
            handover.switch(old)
    except BaseException:
        if shared:
            handover.resume(old)
        raise
    say("the new server takes over")
    if shared:
        left = handover.drain(old, timeout=old.stop_timeout)
        if left.http or left.grpc:
            say(f"{left.http} HTTP and {left.grpc} gRPC connections did not end in time: they are cut")
    runtimes.of(old).stop(old, timeout=old.stop_timeout, say=say)
    handover.release(new)
    record.adopt(new, old.run)


def recover(run: Path, say: edges.Say) -> None:
    """Ends what a run that died while it replaced a server has left: one server stays, the old one where it lives."""
    new = runtimes.find(run / NEXT)
    old = runtimes.find(run)
    if old is not None and (new is not None or record.read(run / NEXT) is not None):
        say("a server that was to take over is ended: the old one goes on")
        runtimes.tidy(run / NEXT)
        handover.resume(old)
    elif new is not None:
        runtimes.tidy(run)
        handover.release(new)
        record.adopt(new, run)


def _numbers(ports: spec.Ports) -> tuple[int, int, int]:
    return ports.http, ports.grpc, ports.metrics
