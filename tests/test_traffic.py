"""The traffic driver itself, against a stand-in: nothing that goes wrong with a request is lost or renamed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests import standin, traffic

QUESTIONS = {"x": np.ones((1, 2), np.float32)}
KNOWN = {"old": {"y": np.full((1, 2), 1, np.float32)}, "new": {"y": np.full((1, 2), 2, np.float32)}}


def answer(value: float) -> standin.Model:
    """A model whose every output is the value, whichever version is asked."""
    return lambda version, inputs: {"y": np.full((1, 2), value, np.float32)}


def refuse(version: int, inputs: standin.Arrays) -> standin.Arrays:
    """A model that fails."""
    msg = "out of order"
    raise RuntimeError(msg)


@pytest.fixture
def triton() -> Iterator[standin.Triton]:
    """A stand-in that gives the old answer."""
    with standin.serve() as found:
        found.models["m"] = answer(1)
        yield found


def drive(triton: standin.Triton, *, fresh: bool = False) -> traffic.Traffic:
    """One client of each protocol."""
    return traffic.Traffic(
        triton.http, triton.grpc, "m", QUESTIONS, KNOWN, version=1, http_clients=1, grpc_clients=1, fresh=fresh
    )


def test_every_answer_bears_its_label(triton: standin.Triton) -> None:
    """Old, new and neither are told apart, and no request but those of the server's own count is missing."""
    with drive(triton) as flow:
        flow.proceed(4)
        triton.models["m"] = answer(2)
        moment = time.monotonic()
        flow.proceed(6)
        triton.models["m"] = answer(3)
        flow.proceed(6)
    assert flow.failed == []
    assert {"old", "new", "neither"} == flow.counts.keys()
    assert flow.asked == len(triton.asked) == flow.counts.total()
    assert {protocol for protocol, *_ in triton.asked} == {"http", "grpc"}
    assert flow.since(moment)["old"] == 0
    assert 0 < flow.since(moment).total() < flow.asked
    assert flow.since(time.monotonic()).total() == 0


def test_every_failure_is_kept_with_its_words(triton: standin.Triton) -> None:
    """A refusal of either protocol counts as failed, in the server's own words, and not as an answer."""
    with drive(triton) as flow:
        flow.proceed(4)
        triton.models["m"] = refuse
        flow.proceed(6)
        triton.models["m"] = answer(1)
        flow.proceed(6)
    assert {protocol for protocol, _ in flow.failed} == {"http", "grpc"}
    assert all("out of order" in words for _, words in flow.failed)
    assert flow.counts.keys() == {"old"}
    assert flow.asked == len(flow.failed) + flow.counts["old"] == len(triton.asked)


def test_an_answer_of_another_shape_or_name_is_neither(triton: standin.Triton) -> None:
    """Equal numbers are not enough."""
    triton.models["m"] = lambda version, inputs: {"y": np.full((2, 2), 1, np.float32)}
    with drive(triton) as flow:
        flow.proceed(2)
        triton.models["m"] = lambda version, inputs: {"z": np.full((1, 2), 1, np.float32)}
        flow.proceed(2)
    assert flow.counts.keys() == {"neither"}


def test_a_connection_is_kept(triton: standin.Triton) -> None:
    """A client asks everything over one connection."""
    with drive(triton) as flow:
        flow.proceed(6)
    assert flow.counts == {"old": flow.asked}
    assert triton.connections == 1


def test_a_connection_for_each_request(triton: standin.Triton) -> None:
    """With `fresh`, a client connects anew each time."""
    with drive(triton, fresh=True) as flow:
        flow.proceed(6)
    assert flow.counts == {"old": flow.asked}
    assert triton.connections == sum(request.protocol == "http" for request in flow.requests) > 1


def test_a_server_that_is_gone_is_a_failure() -> None:
    """A refused connection counts, and traffic goes on."""
    with standin.serve() as gone:
        pass
    with drive(gone) as flow:
        flow.proceed(4)
    assert {protocol for protocol, _ in flow.failed} == {"http", "grpc"}
    assert len(flow.failed) == flow.asked >= 4
    assert flow.counts.total() == 0


def test_traffic_that_stops_is_told(triton: standin.Triton) -> None:
    """Waiting for answers that do not come ends with an error."""
    with drive(triton) as flow:
        assert flow._process.pid is not None
        os.kill(flow._process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError, match=r"no client had an answer within 0\.2 s"):
                flow.proceed(1000, timeout=0.2)
        finally:
            os.kill(flow._process.pid, signal.SIGCONT)
