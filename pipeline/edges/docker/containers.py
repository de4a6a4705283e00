"""The project's containers: found by their labels, created, started, stopped, removed, listened to.

Only a container with the project's label is ever looked at, and only one that this module was given is touched. What
shall be in it was decided before.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from pipeline import edges
from pipeline.core import container, errors
from pipeline.edges.docker import engine as engines
from pipeline.edges.docker import form

_LINE = 500
_TICK = 0.05
_SLACK = 10.0


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A container as it is. `inherited` are the variables that its image sets, `owner` the nonce of its label."""

    id: str
    has: container.Container
    state: form.State
    inherited: dict[str, str]

    @property
    def owner(self) -> str:
        """The nonce of the server that it was created for; empty where it has none."""
        return self.has.labels.get(container.OWNER, "")

    @property
    def fingerprint(self) -> str:
        """The fingerprint that it was created with."""
        return self.has.labels.get(container.FINGERPRINT, "")

    @property
    def end(self) -> str:
        """How it ended, in words; empty where it runs."""
        return form.explain(self.state, self.has.memory)


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Memory in bytes: the limit, the most that was used so far (with cgroup v2: that is used now), and how often the
    kernel killed a process at the limit."""

    limit: int
    peak: int
    kills: int

    def __str__(self) -> str:
        limit, peak = container.shown_size(self.limit), f"{self.peak / (1 << 20):.0f}m"
        times = "once" if self.kills == 1 else f"{self.kills} times"
        return f"the kernel killed a process {times} at the memory limit of {limit}, {peak} used at the most"


def find(engine: engines.Engine, *, project: str) -> tuple[Found, ...]:
    """Every container with the project's label, running or not: ours are those whose `owner` is a nonce we recorded.

    Raises Unfit where the engine does not answer.
    """
    return _labelled(engine, container.PROJECT, project)


def owned(engine: engines.Engine, nonce: str) -> tuple[Found, ...]:
    """The container that was created for a nonce, if it is there. Raises Unfit where the engine does not answer."""
    return _labelled(engine, container.OWNER, nonce)


def _labelled(engine: engines.Engine, label: str, value: str) -> tuple[Found, ...]:
    with engines.asking(engine, "list containers"):
        known = engine.api.containers(all=True, filters={"label": f"{label}={value}"})
        ids = sorted(str(each["Id"]) for each in known)
    return tuple(found for each in ids if (found := look(engine, each)) is not None)


def look(engine: engines.Engine, identity: str) -> Found | None:
    """One container by its id; None where it is gone. Raises Unfit where the engine does not answer."""
    from docker.errors import NotFound  # noqa: PLC0415

    with engines.asking(engine, "show a container"):
        try:
            told = engine.api.inspect_container(identity)
        except NotFound:
            return None
        try:
            image: Mapping[str, Any] = engine.api.inspect_image(told["Image"])
        except NotFound:
            image = {}
        return Found(
            id=told["Id"],
            has=form.read(told),
            state=form.state(told),
            inherited=form.variables((image.get("Config") or {}).get("Env")),
        )


def runs(engine: engines.Engine, identity: str) -> bool:
    """Whether a container runs. Raises Unfit where the engine does not answer."""
    from docker.errors import NotFound  # noqa: PLC0415

    with engines.asking(engine, "show a container"):
        try:
            return bool(engine.api.inspect_container(identity)["State"]["Running"])
        except NotFound:
            return False


def run(engine: engines.Engine, wanted: container.Container, *, say: edges.Say) -> Found:
    """Creates the container and starts it; returns before the server in it is ready.

    Raises PipelineError where a port is in use or the name is taken, Unfit where the image or the GPUs are missing.
    Nothing is left then.
    """
    with engines.asking(engine, "create the container"):
        limits = engine.api.create_host_config(**form.host(wanted))
        identity = str(engine.api.create_container(**form.request(wanted), host_config=limits)["Id"])
    try:
        with engines.asking(engine, "start the container"):
            engine.api.start(identity)
        found = look(engine, identity)
    except BaseException:
        # Ctrl-C too. An engine that no longer answers keeps it: it is found again by its label.
        with contextlib.suppress(errors.PipelineError):
            remove(engine, identity)
        raise
    if found is None:
        msg = f"the container {wanted.name} was removed by somebody as soon as it was started"
        raise errors.PipelineError(msg, hint="See `docker events`, then run this again.")
    say(f"started the container {wanted.name}, {identity[:12]}, of {wanted.image}")
    return found


def stop(engine: engines.Engine, found: Found, *, say: edges.Say, at_once: bool = False) -> form.State | None:
    """Ends what runs in it: SIGTERM, then, after its own `stop_seconds`, SIGKILL; only this if `at_once`. It stays.

    Returns how it ended, None where it is gone. Raises PipelineError where not even the kill ends it.
    """
    seconds = 0 if at_once else found.has.stop_seconds or container.STOP_SLACK
    if at_once:
        say(f"killing the container {found.has.name}: what runs in it does not answer")
        _quietly(engine, "kill the container", "kill", found.id)
    elif found.state.status in {"running", "paused", "restarting"}:
        say(f"stopping the container {found.has.name}: requests in flight have {seconds - container.STOP_SLACK} s")
        _quietly(engine, "stop the container", "stop", found.id, timeout=seconds)
    left = _ended(engine, found.id)
    if left is not None and left.state.running:
        say("the container did not end: killing it")
        _quietly(engine, "kill the container", "kill", found.id)
        left = _ended(engine, found.id)
    if left is not None and left.state.running:
        msg = f"the container {found.has.name} does not end"
        raise errors.PipelineError(msg, hint="Restart the engine: sudo systemctl restart docker.")
    if left is not None and left.state.exit_code == 137 and not left.state.oom_killed and not at_once:
        say(f"the server in {found.has.name} did not end by itself: it was killed")
    return left.state if left else None


def remove(engine: engines.Engine, identity: str) -> None:
    """Removes a container, running or not, with all that is its own. One that is gone is fine."""
    _quietly(engine, "remove the container", "remove_container", identity, v=True, force=True)


def logs(engine: engines.Engine, identity: str, lines: int = 40) -> tuple[str, ...]:
    """The last lines that it wrote, control characters escaped; empty where it is gone."""
    from docker.errors import NotFound  # noqa: PLC0415

    with engines.asking(engine, "show the log"):
        try:
            raw: bytes = engine.api.logs(identity, stdout=True, stderr=True, tail=lines)
        except NotFound:
            return ()
    return tuple(engines.clean(line)[:_LINE] for line in raw.decode("utf-8", "replace").splitlines())


def processes(engine: engines.Engine, identity: str) -> tuple[tuple[str, ...], ...]:
    """The words of every process in a container. Raises PipelineError where it does not run."""
    with engines.asking(engine, "list the processes"):
        told = engine.api.top(identity, ps_args="-eo pid,args")
    return tuple(tuple(str(row[-1]).split()) for row in told["Processes"] or ())


def memory(engine: engines.Engine, found: Found) -> Memory:
    """What a running container has needed. Where the kernel kills one of its processes at the limit the container runs
    on, and its server tells only that a model's process is gone: the engine has kept what it was."""
    with engines.asking(engine, "tell of the memory"):
        used = engine.api.stats(found.id, stream=False, one_shot=True).get("memory_stats") or {}
        # Up to now by the engine's own clock: without an end the engine goes on telling.
        now = datetime.fromisoformat(engine.api.info()["SystemTime"])
        asked = {"container": found.id, "event": "oom"}
        events = list(engine.api.events(since=1, until=now + timedelta(seconds=1), filters=asked, decode=True))
    return Memory(limit=found.has.memory, peak=used.get("max_usage") or used.get("usage") or 0, kills=len(events))


def _ended(engine: engines.Engine, identity: str) -> Found | None:
    """The container when it no longer runs, or as it is after a while."""
    deadline = time.monotonic() + _SLACK
    while (found := look(engine, identity)) is not None and found.state.running and time.monotonic() < deadline:
        time.sleep(_TICK)
    return found


def _quietly(engine: engines.Engine, act: str, call: str, identity: str, **more: Any) -> None:  # noqa: ANN401
    """A call of the API about a container that may be gone, or not be running, already."""
    from docker.errors import APIError, NotFound  # noqa: PLC0415

    with engines.asking(engine, act):
        try:
            getattr(engine.api, call)(identity, **more)
        except NotFound:
            return
        except APIError as error:
            # 409: it does not run, or somebody else removes it at this very moment.
            if error.status_code != 409:
                raise
