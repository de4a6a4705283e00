"""What a verification is about: whom to ask and how, what the lock claims, and the goldens, read from the store."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline.core import compare, findings, rounds, spec
from pipeline.edges import files, goldens, inference

Arrays = dict[str, compare.Array]
Cases = dict[int, tuple[Arrays, Arrays]]
"""Inputs and outputs by golden batch."""
_LIMIT = 8 << 30


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version's goldens lie, and the sha256 that the lock has of them."""

    path: Path
    sha256: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the lock says of one model: the digest that its live config must name, and its versions' goldens."""

    digest: str
    goldens: dict[int, Golden]


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The server that was started: its id, its address and ports, and what opens its model control."""

    id: str
    address: str = inference.LOOPBACK
    http: int
    grpc: int
    key: str = ""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask: how often, and how many seconds to wait for each answer."""

    repeat: rounds.Rules = rounds.DEFAULT
    timeout: float = 60.0


DEFAULT = Rules()


class About(NamedTuple):
    """What findings are about."""

    model: str | None = None
    version: int | None = None

    def finding(self, rule: str, message: str, hint: str) -> findings.Finding:
        """A finding about it."""
        return findings.Finding(rule=rule, message=message, hint=hint, model=self.model, version=self.version)


def read(model: spec.Model, version: int, golden: Golden | None) -> tuple[Cases, tuple[findings.Finding, ...]]:
    """The golden inputs and outputs of each batch, or why there are none: an edited golden proves nothing."""
    about = About(model.name, version)
    if golden is None:
        return {}, (about.finding("golden-missing", "the lock has no golden of this version", "Run `lock`."),)
    data = files.read(golden.path, _LIMIT)
    got = "missing" if data is None else hashlib.sha256(data).hexdigest()
    if data is None or got != golden.sha256:
        msg = f"{golden.path} is {got}, expected sha256 {golden.sha256}"
        return {}, (about.finding("golden-digest", msg, "Remove that store entry and run `export` again."),)
    try:
        tensors = goldens.unpacked(data)
    except ValueError as error:
        return {}, (about.finding("golden-content", f"{golden.path} cannot be read: {error}", "Run `export` again."),)
    cases = {batch: (_part(tensors, batch, "input"), _part(tensors, batch, "output")) for batch in spec.batches(model)}
    lacking = [batch for batch, (given, wanted) in cases.items() if _incomplete(model, given, wanted)]
    wrong = [
        about.finding("golden-content", f"{golden.path} lacks declared tensors of batch {batch}", "Run `lock`.")
        for batch in lacking
    ]
    return {batch: case for batch, case in cases.items() if batch not in lacking}, tuple(wrong)


def _part(tensors: Arrays, batch: int, part: str) -> Arrays:
    prefix = f"{batch}/{part}/"
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _incomplete(model: spec.Model, given: Arrays, wanted: Arrays) -> bool:
    return given.keys() != model.inputs.keys() or wanted.keys() != model.outputs.keys()
