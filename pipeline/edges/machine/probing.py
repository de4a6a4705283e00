"""Every probe at once, each in a thread of its own: one that hangs costs the limit, and nothing but its own answer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from pathlib import Path

from pipeline.core import machine, spec
from pipeline.edges.machine import engine, here

LIMIT = 1.4
"""Seconds for all probes together: the whole command, with Python's start, answers in under two."""

_SLACK = 0.2  # for a probe to say by itself that its time is over


def probe(
    *, interpreter: Path | None, ports: spec.Ports | None, address: str = "127.0.0.1", limit: float = LIMIT
) -> machine.Machine:
    """What this machine is, within `limit` seconds.

    `interpreter` is the Python of the environment that has torch, where there is one. `ports` are tried on `address`.
    """
    answered: futures.Future[str] = futures.Future()

    def ask() -> machine.Engine:
        found = engine.ask(limit - 2 * _SLACK)
        answered.set_result(found.root)
        return found

    def disk() -> machine.Space:
        """Images lie where the engine says, or, if it says nothing, where engines put them by default."""
        return here.space(Path(answered.result(timeout=limit - _SLACK) or engine.ROOT))

    probes: dict[str, Callable[[], object]] = {
        "system": here.system,
        "driver": lambda: here.driver(limit - _SLACK),
        "toolkit": lambda: here.toolkit(limit - _SLACK),
        "shm": lambda: here.space(Path("/dev/shm")),  # noqa: S108 - looked at, not written to
        "engine": ask,
        "disk": disk,
    }
    if interpreter is not None:
        probes["python"] = lambda: here.python(interpreter, limit - _SLACK)
    if ports is not None:
        probes["ports"] = lambda: here.ports(ports, address)
    found, unknown = _gather(probes, limit)
    if interpreter is None:
        unknown["python"] = "there is no environment with PyTorch here yet"
    return machine.Machine(**found, unknown=dict(sorted(unknown.items())))  # type: ignore[arg-type]


def has_gpu(limit: float) -> bool:
    """Whether NVIDIA's driver works here, asked for `limit` seconds."""
    return here.driver(limit).state == "works"


def _gather(probes: Mapping[str, Callable[[], object]], limit: float) -> tuple[dict[str, object], dict[str, str]]:
    """The probes' answers by name, and for those without one the reason."""
    answers: queue.SimpleQueue[tuple[str, object, str]] = queue.SimpleQueue()

    def run(name: str, ask: Callable[[], object]) -> None:
        try:
            answers.put((name, ask(), ""))
        except Exception as error:  # whatever a strange machine makes of it, the others go on
            answers.put((name, None, " ".join(f"{type(error).__name__}: {error}".split())))

    for name, ask in probes.items():
        threading.Thread(target=run, args=(name, ask), daemon=True).start()
    end = time.monotonic() + limit
    found: dict[str, object] = {}
    unknown: dict[str, str] = {}
    waiting = set(probes)
    while waiting:
        try:
            name, answer, why = answers.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            return found, unknown | dict.fromkeys(waiting, f"it did not answer within {limit:g} s")
        waiting.discard(name)
        if why:
            unknown[name] = why
        else:
            found[name] = answer
    return found, unknown
