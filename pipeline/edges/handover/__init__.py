"""One server takes the other's place on the same ports, and no request fails.

The steps, in order: `hold`, start the new server beside the old, prove it from the address PROVER, `switch`, `drain`,
stop the old one, `release`. `resume` undoes `hold` and `switch` where the new one is no good.

What was measured on Triton 2.51.0, and why these steps:
- Both servers need `--reuse-http-port` and `--reuse-grpc-port`. A server listens when all its models are loaded, and
  the kernel gives it a share of the new connections at once, before anybody could prove it: `hold` keeps them away.
- The metrics port cannot be shared: the second server ends with `already in use`. `hold` takes it from the old one.
- At SIGTERM a server goes on listening, and resets every new HTTP connection; it answers on kept ones until the exit
  timeout, then cuts them. Then it unloads its models, with gRPC still open: every gRPC request fails (`Request for
  unknown model`). So it gets SIGTERM when no connection is left, and the kernel sends it no new one: `switch`, `drain`.
- A listening socket that is shut down frees its port, and Triton's HTTP library then asks it for connections in an
  endless loop, with five megabytes of log a second. So none is shut down for long: see `_silence`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import msgspec

from pipeline.core import errors
from pipeline.edges import record
from pipeline.edges.handover import goaway, relay, sockets

PROVER = "127.0.0.2"
"""New connections from this address reach the new server while `hold` keeps all others with the old one."""

IDLE = 5.0
"""Seconds after which a kept HTTP connection that asks nothing is closed, when its server is being replaced."""

_TICK = 0.02
_BACKLOG = 1024


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """Connections that the old server still had at the end of `drain`: each may lose a request when it stops."""

    http: int
    grpc: int


def able(old: record.Running) -> bool:
    """Whether a server can be replaced so: it shares its ports, and the kernel lets this user steer them."""
    try:
        for port in _shared(old):
            with sockets.taken(old, port, sockets.LISTEN) as listeners:
                if not listeners or not all(
                    each.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for each in listeners
                ):
                    return False
    except (errors.PipelineError, OSError):
        return False
    return True


def hold(old: record.Running) -> None:
    """Keeps new connections with the old server, whoever joins its ports, and frees its metrics port.

    Raises PipelineError where the kernel does not let this user do so.
    """
    for port in _shared(old):
        with sockets.taken(old, port, sockets.LISTEN) as listeners:
            sockets.steer(listeners[0], len(listeners), of=PROVER)
    with sockets.taken(old, old.ports.metrics, sockets.LISTEN) as listeners:
        for listener in listeners:
            _silence(listener, old.ports.metrics)


def switch(old: record.Running) -> None:
    """Sends every new connection to the server that joined the old one's ports. Raises PipelineError as `hold`."""
    for port in _shared(old):
        with sockets.taken(old, port, sockets.LISTEN) as listeners:
            # The old server's are the first in the group, and the place stays right while they go one by one: the
            # kernel fills a gap with the last, and leaves a place beyond the end to chance among those that remain.
            sockets.steer(listeners[0], len(listeners))


def drain(old: record.Running, *, timeout: float) -> Left:
    """Ends the old server's connections without a failed request, and gives what was left after `timeout` seconds.

    Kept HTTP connections have their next request answered by the new server, and end with it; idle ones are closed
    after IDLE seconds. gRPC connections are told to end: a client ends one when its calls have ended.
    """
    deadline = time.monotonic() + timeout
    threads: dict[str, threading.Thread] = {}
    while time.monotonic() < deadline:
        found = [
            (port, *each) for port in _shared(old) for each in sockets.find(old, port, sockets.ESTABLISHED).items()
        ]
        for port, descriptor, name in found:
            if name not in threads:
                threads[name] = threading.Thread(target=_end, args=(old, port, descriptor, name, deadline))
                threads[name].start()
        if not found and not any(thread.is_alive() for thread in threads.values()):
            break
        time.sleep(_TICK)
    for thread in threads.values():
        thread.join()
    return Left(http=_count(old, old.ports.http), grpc=_count(old, old.ports.grpc))


def release(new: record.Running) -> None:
    """Leaves the choice among the new server's own listeners to the kernel, when the old one has ended."""
    for port in _shared(new):
        with sockets.taken(new, port, sockets.LISTEN) as listeners:
            for listener in listeners[:1]:
                sockets.free(listener)


def resume(old: record.Running) -> None:
    """Makes the old server as it was before `hold`, once the new one has ended. Done twice, it changes nothing."""
    release(old)
    with sockets.taken(old, old.ports.metrics, sockets.ESTABLISHED) as found:
        for listener in found:
            if listener.getsockname() == listener.getpeername():
                sockets.disconnect(listener)
                listener.listen(_BACKLOG)


def _shared(running: record.Running) -> tuple[int, int]:
    return running.ports.http, running.ports.grpc


def _count(running: record.Running, port: int) -> int:
    return len(sockets.find(running, port, sockets.ESTABLISHED))


def _end(old: record.Running, port: int, descriptor: int, name: str, deadline: float) -> None:
    with contextlib.suppress(OSError):  # the client has closed it meanwhile
        if port == old.ports.grpc:
            goaway.send(old, descriptor, deadline=deadline)
        else:
            place = (record.LOOPBACK, port)
            relay.retire(old, (descriptor, name), place=place, deadline=deadline, idle=IDLE)


def _silence(listener: socket.socket, port: int) -> None:
    """Ends listening, and leaves the socket connected to itself, where its owner sees nothing to accept, and no error.

    A connected socket does not keep others from listening on its port (`socket(7)`, SO_REUSEADDR, which Triton sets).
    """
    listener.shutdown(socket.SHUT_RD)
    listener.connect_ex((record.LOOPBACK, port))
