"""The docker runtime: a server of ours in a container, from its launch to its end.

The record comes before the container, and the record's nonce is a label of it: should this process die between the two,
the label still finds it. A container that does not bear our nonce is never touched.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pipeline import edges
from pipeline.core import container, errors, options, serverlog, spec
from pipeline.edges import family, files, ports, record
from pipeline.edges.docker import containers
from pipeline.edges.docker import engine as engines

NAME = "docker"
_LINES = 2000
_APPEARS = 5.0
_TICK = 0.02


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """A container to start. `image` is what people call the image, `image_id` the engine's id of it, empty where the
    engine does not have it yet. `project`, `spec` and `release` are digests for its labels."""

    repository: Path
    ports: spec.Ports
    models: tuple[str, ...]
    target: spec.Target
    image: str
    image_id: str = ""
    project: str = ""
    spec: str = ""
    release: str = ""
    shared: bool = True


def wanted(launch: Launch, nonce: str = "", key: str = "") -> container.Container:
    """The container of a launch, with everything that it is created with."""
    return container.container(_target(launch), _given(launch, nonce, key))


def fingerprint(launch: Launch) -> str:
    """The digest of all that only another container can change; the list of models can change in a running one."""
    return container.fingerprint(_target(launch), _given(launch))


def start(launch: Launch, *, run: Path, say: edges.Say, beside: record.Running | None = None) -> record.Running:
    """Creates and starts a container with its record in `run`, and returns before the server in it is ready.

    `beside` is a server whose ports it shares. Raises PipelineError where a server of this record runs already, where
    a port is in use or the container's user cannot read the models; Unfit where the engine, the image or the GPUs are
    missing. Nothing is left then.
    """
    if find(run) is not None:
        msg = "a server of this project runs already"
        raise errors.PipelineError(msg, hint="Stop it with `down` first.")
    tidy(run)
    _check_readable(launch)
    address = launch.target.container.address
    ports.check(launch.ports, address, beside.pid if beside else None)
    nonce = secrets.token_hex(16)
    intent = record.Record(
        runtime=NAME,
        nonce=nonce,
        fingerprint=fingerprint(launch),
        ports=launch.ports,
        address=record.LOOPBACK if address == container.ANY else address,
        stop_timeout=launch.target.stop_timeout,
        key=secrets.token_hex(16),
    )
    files.make_folder(run)
    record.write(run, intent)
    try:
        found = containers.run(_engine(), wanted(launch, nonce, intent.key), say=say)
        record.write(run, msgspec.structs.replace(intent, container=found.id))
        running = _await_process(run, found)
    except BaseException:
        with contextlib.suppress(errors.PipelineError):  # without an engine it is found again by its label
            tidy(run)
        raise
    return running


def find(run: Path) -> record.Running | None:
    """The server whose container runs, or None. Raises Unfit where the engine does not answer."""
    known = _known(run)
    found = _container(known) if known else None
    if known is None or found is None or not found.state.running:
        return None
    # Only in the machine's own network are the server's sockets the machine's.
    leader = family.leader(known.nonce) if found.has.network == "host" else None
    process = (leader.pid, leader.started) if leader else (0, 0)
    return record.running(known, run, pid=process[0], started=process[1], container=found.id)


def lost(run: Path) -> str:
    """What became of a container that was started here and not stopped; empty where it runs, or none was."""
    known = _known(run)
    if known is None:
        return ""
    found = _container(known)
    return found.end if found else "its container is gone"


def differences(running: record.Running, launch: Launch) -> tuple[options.Difference, ...]:
    """What the running container has otherwise than the launch asks for, whoever has changed it."""
    found = containers.look(_engine(), running.container)
    if found is None:
        return ()
    return options.differences(wanted(launch), found.has, inherited=found.inherited)


def strangers(launch: Launch, runs: tuple[Path, ...]) -> tuple[str, ...]:
    """The names of containers that bear this project's label and are in none of these records: not ours to touch."""
    ours = {known.nonce for run in runs if (known := _known(run))}
    found = containers.find(_engine(), project=launch.project)
    return tuple(each.has.name for each in found if each.owner not in ours)


def stop(running: record.Running, *, timeout: float, say: edges.Say) -> None:
    """Ends a server: requests in flight have its own time, with a `timeout` of 0 none. Its container is removed."""
    found = containers.look(_engine(), running.container)
    if found is not None:
        containers.stop(_engine(), found, say=say, at_once=timeout == 0)
    tidy(running.run)


def kill(running: record.Running) -> None:
    """Ends a server that never served: at once, with all that is its own."""
    tidy(running.run)


def tidy(run: Path) -> None:
    """Removes what is left of the recorded server: its container, then its record. Its last words are kept."""
    known = _known(run)
    if known is None:
        return
    found = _container(known)
    if found is not None:
        text = "\n".join(containers.logs(_engine(), found.id, _LINES))
        files.write(run / "server.log", f"{text}\n".encode(), mode=0o600)
        containers.remove(_engine(), found.id)
    record.remove(run)


def alive(running: record.Running) -> bool:
    """Whether its container still runs."""
    return containers.runs(_engine(), running.container)


def answering(running: record.Running) -> bool:
    """Whether it, and nobody else, listens on its HTTP port, as far as that can be seen.

    On the ports of a network of its own the engine listens from the start, and whose sockets are whose in the machine's
    network only root sees: there only asking tells more.
    """
    return not _seen(running) or ports.held([running.ports.http], running.pid)


def listening(running: record.Running) -> bool:
    """The same of all its ports."""
    every = [running.ports.http, running.ports.grpc, running.ports.metrics]
    return not _seen(running) or ports.held(every, running.pid)


def processes(running: record.Running) -> dict[str, dict[str, int]]:
    """How many processes serve each version of each model."""
    return family.versions(containers.processes(_engine(), running.container))


def log(running: record.Running) -> list[str]:
    """The last lines that it wrote."""
    return list(containers.logs(_engine(), running.container, _LINES))


def trouble(running: record.Running) -> str:
    """What the engine knows of its end, or of a process in it that the kernel killed; empty where there is nothing."""
    found = containers.look(_engine(), running.container)
    if found is None or not found.state.running:
        return found.end if found else "its container is gone"
    used = containers.memory(_engine(), found)
    return str(used) if used.kills else ""


@functools.cache
def _engine() -> engines.Engine:
    return engines.connect()


def _seen(running: record.Running) -> bool:
    return bool(running.pid) and os.access(f"/proc/{running.pid}/fd", os.R_OK)


def _target(launch: Launch) -> spec.Target:
    return msgspec.structs.replace(launch.target, ports=launch.ports)


def _given(launch: Launch, nonce: str = "", key: str = "") -> container.Given:
    """The parent of the repository is what is mounted: a mount does not see another folder that takes its place."""
    return container.Given(
        folder=str(launch.repository.parent),
        repository=launch.repository.name,
        image=launch.image,
        image_id=launch.image_id,
        nonce=nonce,
        key=key,
        project=launch.project,
        spec=launch.spec,
        release=launch.release,
        models=launch.models,
        shared=launch.shared,
    )


def _known(run: Path) -> record.Record | None:
    known = record.read(run)
    return known if known is not None and known.runtime == NAME else None


def _container(known: record.Record) -> containers.Found | None:
    """The container of a record: by its id, or, where it was written before that was known, by its label."""
    if known.container:
        found = containers.look(_engine(), known.container)
    else:
        found = next(iter(containers.owned(_engine(), known.nonce)), None)
    return found if found is not None and found.owner == known.nonce else None


def _await_process(run: Path, found: containers.Found) -> record.Running:
    """The running server; in the machine's own network with its process, which appears a moment after the start.

    Raises PipelineError where it has ended already.
    """
    deadline = time.monotonic() + _APPEARS
    running = find(run)
    while found.has.network == "host" and running and not running.pid and time.monotonic() < deadline:
        time.sleep(_TICK)
        running = find(run)
    if running is None:
        raise _ended_at_once(run)
    return running


def _ended_at_once(run: Path) -> errors.PipelineError:
    known = _known(run)
    found = _container(known) if known else None
    words = containers.logs(_engine(), found.id) if found else ()
    if recognized := engines.recognized("\n".join(words)):
        return recognized
    end = found.end if found else "its container is gone"
    msg = f"the server ended at once: {end}"
    return errors.PipelineError(msg, hint="Its last words are above.", details=serverlog.tail(words))


def _check_readable(launch: Launch) -> None:
    """Raises PipelineError for the first file of the models that the container's user may not read."""
    user, group = map(int, launch.target.container.user.split(":"))
    for path in _mounted(launch):
        with files.guard("look at", path):
            found = path.stat()
        needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(found.st_mode) else 0)
        shift = 6 if found.st_uid == user else 3 if found.st_gid == group else 0
        if (found.st_mode >> shift) & needed != needed and user != 0:
            msg = f"the container's user {user}:{group} may not read {path}"
            hint = (
                f"Let others read it (chmod o+r{'x' if stat.S_ISDIR(found.st_mode) else ''} {path}), or run the "
                'container as yourself: target.container.user: "$(id -u):$(id -g)", with the numbers written out.'
            )
            raise errors.PipelineError(msg, hint=hint)


def _mounted(launch: Launch) -> Iterator[Path]:
    """What the server reads: the mounted folder, the repository, the models' folders and files."""
    yield launch.repository.parent
    if launch.repository.is_dir():
        yield launch.repository
    for name in launch.models:
        folder = launch.repository / name
        if folder.is_dir():
            yield folder
            yield from sorted(folder.rglob("*"))
