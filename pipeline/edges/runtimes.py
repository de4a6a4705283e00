"""The table of runtimes: one module each, and what any server of ours can be asked, whichever runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pipeline import edges
from pipeline.core import errors, options
from pipeline.edges import docker, embedded, record

Launch = embedded.Launch | docker.Launch


class Runtime(Protocol):
    """What a runtime does with a server that is recorded in a folder, or runs."""

    def find(self, run: Path) -> record.Running | None:
        """The server that runs, or None."""

    def lost(self, run: Path) -> str:
        """What became of one that was started and not stopped; empty where it runs, or none was."""

    def stop(self, running: record.Running, *, timeout: float, say: edges.Say) -> None:
        """Ends it, after the requests in flight, and removes all that is its own."""

    def kill(self, running: record.Running) -> None:
        """Ends one that never served, at once."""

    def tidy(self, run: Path) -> None:
        """Removes all that is left of the recorded one."""

    def alive(self, running: record.Running) -> bool:
        """Whether it still runs."""

    def answering(self, running: record.Running) -> bool:
        """Whether it, and nobody else, can be asked on its HTTP port."""

    def listening(self, running: record.Running) -> bool:
        """Whether it listens on all its ports."""

    def processes(self, running: record.Running) -> dict[str, dict[str, int]]:
        """How many processes serve each version of each model."""

    def log(self, running: record.Running) -> list[str]:
        """The last lines that it wrote."""


RUNTIMES: dict[str, Runtime] = {"embedded": embedded, "docker": docker}


def name(launch: Launch) -> str:
    """The runtime of a launch, as the spec names it."""
    return "docker" if isinstance(launch, docker.Launch) else "embedded"


def fingerprint(launch: Launch) -> str:
    """The digest of all that only a new server can change."""
    match launch:
        case docker.Launch():
            return docker.fingerprint(launch)
        case embedded.Launch():
            return embedded.fingerprint(launch)


def start(launch: Launch, *, run: Path, say: edges.Say, beside: record.Running | None = None) -> record.Running:
    """Starts a server with its record in `run`, before it is ready. `beside` is one whose ports it shares."""
    match launch:
        case docker.Launch():
            return docker.start(launch, run=run, say=say, beside=beside)
        case embedded.Launch():
            return embedded.start(launch, run=run, say=say, beside=beside)


def of(running: record.Running) -> Runtime:
    """The runtime of a server."""
    return RUNTIMES[running.runtime]


def find(run: Path) -> record.Running | None:
    """The server that is recorded in `run` and runs, or None. Without a record nothing is asked."""
    found = _recorded(run)
    return found.find(run) if found else None


def lost(run: Path) -> str:
    """What became of a server that was started and not stopped; empty where it runs, or none was."""
    found = _recorded(run)
    return found.lost(run) if found else ""


def tidy(run: Path) -> None:
    """Removes all that is left of the server that is recorded in `run`."""
    found = _recorded(run)
    if found:
        found.tidy(run)


def differences(running: record.Running, launch: Launch) -> tuple[options.Difference, ...]:
    """What a server that was started as the launch asks has otherwise by now."""
    if isinstance(launch, docker.Launch) and running.container:
        return docker.differences(running, launch)
    return ()


def strangers(launch: Launch, *runs: Path) -> tuple[str, ...]:
    """Servers that bear the project's name and are in none of the records: they are left alone."""
    return docker.strangers(launch, runs) if isinstance(launch, docker.Launch) else ()


def shared(old: record.Running, launch: Launch) -> bool:
    """Whether the launch's server could join the ports of the old one: both of one runtime and one network."""
    if old.runtime != name(launch):
        return False
    return not isinstance(launch, docker.Launch) or bool(old.pid and launch.target.container.network == "host")


def trouble(running: record.Running) -> str:
    """What the runtime knows of its end, or of one of its processes' end; empty where there is nothing."""
    return docker.trouble(running) if running.container else ""


def _recorded(run: Path) -> Runtime | None:
    known = record.read(run)
    if known is None:
        return None
    if known.runtime not in RUNTIMES:
        msg = f"{record.path(run)} tells of a server of the runtime {known.runtime!r}"
        raise errors.PipelineError(msg, hint="Use the version of the pipeline that started it.")
    return RUNTIMES[known.runtime]
