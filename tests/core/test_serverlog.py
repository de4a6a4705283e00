"""Reasons out of Triton's log: what stopped a start is told in words that say what to do."""

from __future__ import annotations

import pytest

from pipeline.core import serverlog

LINES = {
    "E1126 05:11:47.410205 1 model_lifecycle.cc:650] \"failed to load 'tiny' version 2: Internal: no file\"": (
        "tiny",
        2,
        "no file",
    ),
    "terminate called after throwing an instance of 'boost::interprocess::lock_exception'": (
        None,
        None,
        "its processes waited 10 s for one another, and it gave up: this machine is too busy for them",
    ),
}


@pytest.mark.parametrize("line", LINES)
def test_reason(line: str) -> None:
    """Each is told once, about what it is about."""
    model, version, words = LINES[line]
    (found,) = serverlog.faults([line, "I1126 something else", line])
    assert (found.model, found.version) == (model, version)
    assert words in found.reason
