"""Observe: the running server as it is, beside what the pipeline saw when it loaded the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline import edges
from pipeline.core import build, errors, state
from pipeline.edges import record, runtimes, triton


def observe(project: edges.Project, planned: runtimes.Launch | None = None) -> state.Server | None:
    """The server of this project as it is, or None where none runs. Without a record no socket is opened.

    A server that runs and does not answer as itself has an empty fingerprint: only a new one mends it. With `planned`
    it is also compared, option by option, with the server that is wanted.
    """
    running = runtimes.find(project.run)
    if running is None:
        return None
    client = triton.client(running)
    models: dict[str, state.Live] = {}
    fingerprint = running.fingerprint
    failed: tuple[str, ...] = ()
    try:
        client.expect(running.name)
        processes = runtimes.of(running).processes(running)
        # Without its repository Triton lists no model, and goes on serving those that it has.
        ready = client.ready_versions() if project.repository.is_dir() else {}
        configs = client.configs(tuple(ready))
        for name, versions in ready.items():
            models[name] = _model(running, name, versions, configs[name], processes.get(name, {}))
        failed = _failed(client)
    except errors.PipelineError:
        fingerprint, models = "", {}
    differs = runtimes.differences(running, planned) if planned else ()
    return state.Server(
        runtime=running.runtime,
        fingerprint=fingerprint,
        models=models,
        loaded=frozenset(running.loaded),
        failed=failed,
        differs={each.option: (each.found, each.wanted) for each in differs},
    )


def _failed(client: triton.Client) -> tuple[str, ...]:
    """The loads that failed, where they keep the server from being ready; nothing is known while it loads."""
    if client.ready():
        return ()
    index = client.index()
    if any(each.state in {"LOADING", "UNLOADING"} for each in index) or client.ready():
        return ()
    found = [
        f"{each.name}/{each.version}"
        for each in index
        if each.state == "UNAVAILABLE" and each.reason not in {"", "unloaded"}
    ]
    return tuple(found) or ("",)


def loading(running: record.Running) -> frozenset[str]:
    """The models that the server is loading now."""
    try:
        return frozenset(each.name for each in triton.client(running).index() if each.state == "LOADING")
    except errors.PipelineError:
        return frozenset()


def lost(project: edges.Project) -> str:
    """What became of a server that the pipeline started and nobody stopped; empty where nothing did."""
    return runtimes.lost(project.run)


def describe(project: edges.Project) -> str:
    """The project's server in one line."""
    running = runtimes.find(project.run)
    if running is None:
        end = runtimes.lost(project.run)
        return f"No server of this project runs{f': {end}' if end else ''}."
    which = f"container {running.container[:12]}" if running.container else f"pid {running.pid}"
    ports = running.ports
    text = f"Triton ({running.runtime}) {which}: http {ports.http}, grpc {ports.grpc}, metrics {ports.metrics}."
    trouble = runtimes.trouble(running)
    return f"{text} Beware: {trouble}." if trouble else text


def _model(
    running: record.Running,
    name: str,
    versions: tuple[int, ...],
    config: dict[str, Any],
    processes: Mapping[str, int],
) -> state.Live:
    known = running.loaded.get(name)
    same = known is not None and known.config == build.digest(config)
    return state.Live(
        digest=triton.digest_of(config),
        versions=versions,
        folder=known.folder if known else None,
        config=None if same else config,
        fault=_fault(versions, config, processes),
    )


def _fault(versions: tuple[int, ...], config: dict[str, Any], processes: Mapping[str, int]) -> str:
    """A version whose processes are fewer than its config asks for: Triton goes on calling it READY."""
    groups = config.get("instance_group", [])
    wanted = sum(int(group.get("count", 1)) * max(1, len(group.get("gpus", []))) for group in groups)
    for version in versions:
        living = processes.get(str(version), 0)
        if living < wanted:
            return f"version {version}: {wanted - living} of {wanted} ended"
    return ""
