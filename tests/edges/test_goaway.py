"""A gRPC client is told that its connection ends, against a real gRPC server in this process."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import spec
from pipeline.edges import family, inference, record
from pipeline.edges.handover import goaway, sockets
from tests import standin, traffic

QUESTION = {"x": np.ones((1, 2), np.float32)}


@pytest.fixture
def triton() -> Iterator[standin.Triton]:
    """A stand-in that gives back what it is asked."""
    with standin.serve() as found:
        found.models["m"] = echo
        yield found


def echo(version: int, inputs: standin.Arrays) -> standin.Arrays:
    """Gives back what it is asked, after a moment: most of the time a request is under way."""
    time.sleep(0.005)
    return {"y": inputs["x"]}


def ours(triton: standin.Triton) -> record.Running:
    """This process as the edge knows servers."""
    process = family.process(os.getpid())
    assert process is not None
    ports = spec.Ports(http=triton.http, grpc=triton.grpc)
    return record.Running(
        pid=process.pid,
        started=process.started,
        nonce="",
        fingerprint="",
        ports=ports,
        stop_timeout=1,
        run=Path("nowhere"),
    )


def connections(triton: standin.Triton) -> dict[int, str]:
    """The server's ends of its connections."""
    return sockets.find(ours(triton), triton.grpc, sockets.ESTABLISHED)


def test_an_idle_client_connects_anew(triton: standin.Triton) -> None:
    """The connection is gone as soon as the client has read that, and its requests have another."""
    with inference.Client("grpc", triton.grpc) as client:
        client.infer("m", 1, QUESTION, ("y",))
        first = connections(triton)
        (descriptor,) = first
        assert goaway.send(ours(triton), descriptor, deadline=time.monotonic() + 5)
        patience = time.monotonic() + 10
        while not first.items().isdisjoint(connections(triton).items()):
            assert time.monotonic() < patience
            client.infer("m", 1, QUESTION, ("y",))


def test_no_request_fails(triton: standin.Triton, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that ask without pause are told again and again, notice nothing, and ask nothing twice."""
    monkeypatch.setattr(goaway, "_BUSY", 0.02)
    known = {"right": {"y": QUESTION["x"]}}
    seen = set()
    with traffic.Traffic(
        triton.http, triton.grpc, "m", QUESTION, known, version=1, http_clients=0, grpc_clients=2
    ) as flow:
        for _ in range(5):
            for descriptor, name in connections(triton).items():
                seen.add(name)
                goaway.send(ours(triton), descriptor, deadline=time.monotonic() + 0.2)
            flow.proceed(10)
    assert flow.counts == {"right": flow.asked}
    assert flow.asked == len(triton.asked)
    assert len(seen) > 2


def test_a_connection_that_said_nothing_yet_is_let_be(triton: standin.Triton) -> None:
    """The server's first frame must be its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = listener.accept()
            with accepted:
                assert not goaway.send(ours(triton), accepted.fileno(), deadline=time.monotonic() + 0.1)
                with pytest.raises(BlockingIOError):
                    client.recv(1, socket.MSG_DONTWAIT)
