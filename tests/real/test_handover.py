"""One real server takes the other's place on the same ports, while clients ask without pause."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from pipeline.edges import embedded, handover, inference, ports, record
from tests import traffic
from tests.real import modules, repository

pytestmark = [pytest.mark.real, pytest.mark.alone]

SAID: list[str] = []
QUESTION = {"x__0": np.zeros((1, 4), np.float32)}
KNOWN = {label: {"y__0": np.full((1, 4), value, np.float32)} for label, value in (("old", 1), ("new", 2))}


class Add(torch.nn.Module):
    """Tells the servers apart."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.value


class Pair:
    """The servers of a test: the old one runs, the new one is started beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ports = repository.free_ports()
        self.runs = [root / "old", root / "new"]
        for run, value in zip(self.runs, (1.0, 2.0), strict=True):
            text = repository.config("m", [("x__0", "FP32", [4])], [("y__0", "FP32", [4])])
            repository.write(run / "models", "m", Add(value), text)
            text = repository.config("slow", [("x__0", "FP32", [4])], [("y__0", "FP32", [4])])
            repository.write(run / "models", "slow", modules.Slow(), text)
        self.old = self.start(0)

    def start(self, which: int) -> record.Running:
        """Starts a server, the second beside the first, and waits for all its ports."""
        launch = embedded.Launch(
            repository=self.runs[which] / "models",
            backends=self.root / "backends",
            python=Path(sys.executable),
            ports=self.ports,
            models=("m", "slow"),
            stop_timeout=10.0 + which,
        )
        running = embedded.start(launch, run=self.runs[which], say=SAID.append, beside=self.old if which else None)
        deadline = time.monotonic() + 120
        while not embedded.listening(running):
            assert embedded.alive(running), embedded.log(running)[-20:]
            assert time.monotonic() < deadline, embedded.log(running)[-20:]
            time.sleep(0.02)
        return running

    def flow(self, *, fresh: bool) -> traffic.Traffic:
        """Two clients of each protocol that ask the model without pause."""
        return traffic.Traffic(
            self.ports.http, self.ports.grpc, "m", QUESTION, KNOWN, http_clients=2, grpc_clients=2, fresh=fresh
        )

    def identity(self, source: str = "127.0.0.1") -> str:
        """The id of the server that answers a new connection from an address."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports.http, timeout=30, source_address=(source, 0))
        connection.request("GET", "/v2")
        name = json.loads(connection.getresponse().read())["name"]
        connection.close()
        return str(name)

    def metrics(self) -> int:
        """The status of the metrics."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports.metrics, timeout=30)
        connection.request("GET", "/metrics")
        status = connection.getresponse().status
        connection.close()
        return status


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A running old server; both are ended at the end."""
    try:
        yield Pair(tmp_path)
    finally:
        for run in (tmp_path / "old", tmp_path / "new"):
            embedded.tidy(run)


def ask_slowly(protocol: inference.Protocol, pair: Pair, value: float) -> float:
    """Asks the slow model, which takes the longer the larger the value is, and gives it back."""
    port = pair.ports.http if protocol == "http" else pair.ports.grpc
    sent = {"x__0": np.full((1, 4), value, np.float32)}
    return float(inference.infer(protocol, port, "slow", 1, inputs=sent, outputs=("y__0",), timeout=60)["y__0"][0, 0])


def replace(pair: Pair) -> record.Running:
    """All the steps."""
    handover.hold(pair.old)
    new = pair.start(1)
    handover.switch(pair.old)
    assert handover.drain(pair.old, timeout=30) == handover.Left(http=0, grpc=0)
    embedded.stop(pair.old, timeout=10, say=SAID.append)
    handover.release(new)
    return new


def test_a_server_is_replaced_with_no_failed_request(pair: Pair) -> None:
    """Kept and fresh connections of both protocols get every answer, each from the old or the new server, in order."""
    assert handover.able(pair.old)
    with pair.flow(fresh=False) as kept, pair.flow(fresh=True) as fresh:
        kept.proceed(20)
        fresh.proceed(20)
        new = replace(pair)
        moment = time.monotonic()
        kept.proceed(40)
        fresh.proceed(40)
    assert kept.failed == fresh.failed == []
    assert kept.counts.keys() == fresh.counts.keys() == {"old", "new"}
    assert kept.since(moment).keys() == fresh.since(moment).keys() == {"new"}
    assert pair.identity() == new.name
    assert pair.metrics() == 200
    assert not embedded.alive(pair.old)


def test_nobody_reaches_the_new_server_before_the_switch(pair: Pair) -> None:
    """Clients stay with the old server while the new one is proven, which one address reaches. The old one's log does
    not fill with its lost metrics port."""
    handover.hold(pair.old)
    written = pair.old.log.stat().st_size
    with pair.flow(fresh=True) as flow:
        new = pair.start(1)
        assert {pair.identity(handover.PROVER) for _ in range(10)} == {new.name}
        assert {pair.identity() for _ in range(10)} == {pair.old.name}
        flow.proceed(40)
    assert flow.counts == {"old": flow.asked}
    assert pair.old.log.stat().st_size < written + 1000


def test_a_new_server_that_is_no_good_leaves_the_old_as_it_was(pair: Pair) -> None:
    """It is killed while clients ask: none fails, the metrics are back, and the old server can be replaced again."""
    with pair.flow(fresh=False) as kept, pair.flow(fresh=True) as fresh:
        handover.hold(pair.old)
        new = pair.start(1)
        fresh.proceed(20)
        embedded.kill(new)
        for _ in range(2):
            handover.resume(pair.old)
        kept.proceed(20)
        fresh.proceed(20)
    assert kept.counts == {"old": kept.asked}
    assert fresh.counts == {"old": fresh.asked}
    assert pair.metrics() == 200
    assert embedded.listening(pair.old)
    replace(pair)
    assert pair.metrics() == 200


def test_what_the_old_server_has_in_hand_it_answers(pair: Pair) -> None:
    """Questions that take seconds, asked before the switch over kept connections, are answered during the drain."""
    began = time.monotonic()
    ask_slowly("http", pair, 100)
    value = float(int(200 / (time.monotonic() - began)))  # about two seconds
    with concurrent.futures.ThreadPoolExecutor() as pool:
        handover.hold(pair.old)
        pair.start(1)
        asked = [pool.submit(ask_slowly, "http", pair, value), pool.submit(ask_slowly, "grpc", pair, value)]
        time.sleep(0.5)
        assert not any(each.done() for each in asked)
        handover.switch(pair.old)
        assert handover.drain(pair.old, timeout=60) == handover.Left(http=0, grpc=0)
    assert [each.result() for each in asked] == [value, value]


def test_an_idle_connection_ends_with_the_drain(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that keeps its connection and asks nothing sees it closed, and the next request finds the new server."""
    monkeypatch.setattr(handover, "IDLE", 1.0)
    connection = http.client.HTTPConnection("127.0.0.1", pair.ports.http, timeout=30)
    connection.request("GET", "/v2")
    assert json.loads(connection.getresponse().read())["name"] == pair.old.name
    kept = connection.sock
    handover.hold(pair.old)
    new = pair.start(1)
    handover.switch(pair.old)
    assert handover.drain(pair.old, timeout=30) == handover.Left(http=0, grpc=0)
    assert kept is not None
    assert kept.recv(1) == b""
    connection.close()
    connection.request("GET", "/v2")
    assert json.loads(connection.getresponse().read())["name"] == new.name
    connection.close()


def test_a_server_that_shares_nothing_cannot_be_replaced_so(pair: Pair) -> None:
    """It is told before anything is touched."""
    alone = msgspec.structs.replace(pair.old, ports=repository.free_ports())
    assert not handover.able(alone)


def test_a_shared_port_of_others_is_refused(pair: Pair) -> None:
    """Another process of this user that joined the port is named: requests must not go there."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", pair.ports.http))
        other.listen()
        with pytest.raises(Exception, match=f"the http port {pair.ports.http} is in use"):
            ports.check(pair.ports, "127.0.0.1", pair.old.pid)
