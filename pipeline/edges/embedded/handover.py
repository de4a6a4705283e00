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
from pipeline.edges.embedded import launch, record, relay, sockets

PROVER = "127.0.0.2"
"""New connections from this address reach the new server while `hold` keeps all others with the old one."""

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

    Kept HTTP connections have their next request answered by the new server, and end with it. gRPC connections end
    by themselves: the server tells each of them so in time (`launch.CONNECTION_AGE`), and lets its calls end.
    """
    deadline = time.monotonic() + timeout
    ended: dict[str, bool] = {}
    threads: dict[str, threading.Thread] = {}
    while time.monotonic() < deadline:
        found = sockets.find(old, old.ports.http, sockets.ESTABLISHED)
        for descriptor, name in found.items():
            if name not in threads:
                threads[name] = threading.Thread(target=_retire, args=(old, descriptor, name, deadline, ended))
                threads[name].start()
        alive = any(thread.is_alive() for thread in threads.values())
        if not found and not alive and not sockets.find(old, old.ports.grpc, sockets.ESTABLISHED):
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


def _retire(old: record.Running, descriptor: int, name: str, deadline: float, ended: dict[str, bool]) -> None:
    with contextlib.suppress(OSError):  # the client has closed it meanwhile
        ended[name] = relay.retire(old, descriptor, name, place=(launch.ADDRESS, old.ports.http), deadline=deadline)


def _silence(listener: socket.socket, port: int) -> None:
    """Ends listening, and leaves the socket connected to itself, where its owner sees nothing to accept, and no error.

    A connected socket does not keep others from listening on its port (`socket(7)`, SO_REUSEADDR, which Triton sets).
    """
    listener.shutdown(socket.SHUT_RD)
    listener.connect_ex((launch.ADDRESS, port))
