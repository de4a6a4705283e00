"""Verify: every served version is asked its goldens over HTTP and gRPC, and a live server is held against the spec.

Nothing is started, loaded or repaired here. Importing this imports numpy: only commands that verify do.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import safetensors
from safetensors import numpy as packed

from pipeline import edges
from pipeline.core import compare, config, errors, findings, report, spec
from pipeline.edges import failures, files, inference, triton

Arrays = dict[str, compare.Array]
PROTOCOLS: tuple[inference.Protocol, ...] = ("http", "grpc")
_LIMIT = 8 << 30
_TYPES = {"BYTES": "STRING"}  # what the protocol calls TYPE_STRING


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version's goldens lie, and the sha256 that the lock has of them."""

    path: Path
    sha256: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the lock says of one model: the digest that its live config must name, and its versions' goldens."""

    digest: str
    goldens: dict[int, Golden]


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The server that was started: its id, and its ports on the loopback address."""

    id: str
    http: int
    grpc: int


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask: how often each golden (a model that is wrong now and then must show it), and how long to wait."""

    repeats: int = 2
    timeout: float = 60.0


DEFAULT = Rules()


def verify(
    project: edges.Project, declared: spec.Spec, claims: Mapping[str, Claim], server: Server, rules: Rules = DEFAULT
) -> report.Report:
    """Asks everything of the models in `claims`, and reports all that differs; `report.passed` judges it.

    Raises PipelineError where no Triton answers at all, or a failure's folder cannot be written. A foreign server is
    a finding, and is asked nothing more.
    """
    client = triton.Client(port=server.http, timeout=rules.timeout)
    identity = client.identity()
    about = report.Server(id=identity.name, version=identity.version)
    if identity.name != server.id:
        msg = f"{client.place} is the server {identity.name!r}, expected {server.id!r}"
        foreign = _About().finding("server-identity", msg, "Stop that server, or choose other ports, and run `serve`.")
        return report.Report(project=project.spec.name, server=about, cases=(), findings=(foreign,))
    found = [finding for name, claim in claims.items() for finding in _live(client, declared.models[name], claim)]
    cases: list[report.Case] = []
    for name, claim in claims.items():
        model = declared.models[name]
        for version in spec.served_versions(model):
            golden, wrong = _golden(model, version, claim.goldens.get(version))
            found.extend(wrong)
            cases.extend(_Asker(project, model, version, server, rules).all(golden))
    return report.Report(project=project.spec.name, server=about, cases=tuple(cases), findings=tuple(found))


def healthy(project: edges.Project, model: spec.Model, version: int, golden: Golden, server: Server) -> bool:
    """Whether a version gives the answer of its smallest golden, asked once over HTTP. What it gives else is kept."""
    cases, wrong = _golden(model, version, golden)
    if wrong or not cases:
        return False
    batch = min(cases)
    rules = Rules(repeats=1)
    with inference.Client("http", server.http, timeout=rules.timeout) as client:
        case = _Asker(project, model, version, server, rules).one(client, server.http, batch, *cases[batch])
    return case.outcome == "passed"


class _Asker:
    """Asks one version of one model."""

    def __init__(self, project: edges.Project, model: spec.Model, version: int, server: Server, rules: Rules) -> None:
        self.project, self.model, self.version, self.server, self.rules = project, model, version, server, rules
        export = model.versions[version].export
        self.outputs = spec.judged(model.outputs, export)
        self.lower = export is not None and export.precision != "fp32"

    def all(self, golden: dict[int, tuple[Arrays, Arrays]]) -> Iterator[report.Case]:
        """Every golden over every protocol; after one that had no answer in time, none."""
        for protocol in PROTOCOLS if golden else ():
            port = self.server.http if protocol == "http" else self.server.grpc
            with inference.Client(protocol, port, timeout=self.rules.timeout) as client:
                for batch, (given, expected) in sorted(golden.items()):
                    case = self.one(client, port, batch, given, expected)
                    yield case
                    if case.outcome == "error" and case.milliseconds >= self.rules.timeout * 900:
                        return  # what is stuck lets each question wait as long

    def one(self, client: inference.Client, port: int, batch: int, given: Arrays, expected: Arrays) -> report.Case:
        """One golden, again and again until it fails or has been asked often enough: never until it passes."""
        case = report.Case(
            model=self.model.name, version=self.version, protocol=client.protocol, batch=batch, outcome="passed"
        )
        parent = self.project.state / "failures"
        failures.clear(parent, case)
        case, got = self._repeat(client, case, given, expected)
        if case.outcome == "passed":
            return case
        target = failures.place(parent, case)
        case = msgspec.structs.replace(case, folder=str(target.relative_to(self.project.root)))
        failures.keep(parent, case, self._asked(port, given, expected, got))
        return case

    def _asked(self, port: int, given: Arrays, expected: Arrays, got: Arrays) -> failures.Asked:
        default = self.model.golden.tolerance
        tolerances = {name: output.tolerance or default for name, output in self.outputs.items()}
        return failures.Asked(port=port, tolerances=tolerances, inputs=given, expected=expected, got=got)

    def _repeat(
        self, client: inference.Client, case: report.Case, given: Arrays, expected: Arrays
    ) -> tuple[report.Case, Arrays]:
        got: Arrays = {}
        slowest = 0.0
        for count in range(1, self.rules.repeats + 1):
            began = time.perf_counter()
            try:
                got = client.infer(self.model.name, self.version, given, tuple(self.model.outputs))
            except errors.PipelineError as error:
                waited = round((time.perf_counter() - began) * 1000, 3)
                failed = msgspec.structs.replace(
                    case, outcome="error", message=error.message, repeats=count, milliseconds=waited
                )
                return failed, {}
            slowest = max(slowest, (time.perf_counter() - began) * 1000)
            case = msgspec.structs.replace(case, milliseconds=round(slowest, 3), repeats=count)
            wrong = compare.answers(expected, got, self.outputs, self.model.golden.tolerance)
            if wrong:
                return msgspec.structs.replace(case, outcome="failed", mismatches=wrong), got
        if self.lower:
            losses = [compare.loss(name, [expected[name]], [got[name]]) for name in sorted(expected)]
            case = msgspec.structs.replace(case, losses=tuple(each for each in losses if each is not None))
        return case, got


class _About(NamedTuple):
    """What findings are about."""

    model: str | None = None
    version: int | None = None

    def finding(self, rule: str, message: str, hint: str) -> findings.Finding:
        return findings.Finding(rule=rule, message=message, hint=hint, model=self.model, version=self.version)


def _live(client: triton.Client, model: spec.Model, claim: Claim) -> Iterator[findings.Finding]:
    """How the live config and metadata of a model differ from the lock and the spec."""
    about = _About(model.name)
    try:
        live = client.config(model.name)
        digest = client.digest(model.name)
        ready = sorted(
            each.version or 0 for each in client.index() if each.name == model.name and each.state == "READY"
        )
        metadata = {version: client.metadata(model.name, version) for version in spec.served_versions(model)}
    except errors.PipelineError as error:
        yield about.finding("live-model", error.message, "Run `serve`, and read the server's log.")
        return
    if digest != claim.digest:
        msg = f"the server serves the digest {digest}, the lock has {claim.digest}"
        yield about.finding("live-digest", msg, "Run `apply`, which serves what the lock says.")
    for path, wanted, got in config.differences(config.model_config(model, digest=claim.digest), live):
        if not path.startswith(f"parameters.{triton.DIGEST}"):  # told above
            msg = f"the live config has {path} {got!r}, expected {wanted!r}"
            yield about.finding("live-config", msg, "Run `apply`, which serves what the spec says.")
    if ready != list(spec.served_versions(model)):
        msg = f"the versions {ready} are ready, declared are {list(spec.served_versions(model))}"
        yield about.finding("live-versions", msg, "Run `apply`, which serves what the spec says.")
    for version, found in metadata.items():
        for line in _metadata(model, found):
            yield _About(model.name, version).finding("live-metadata", line, "Run `apply` and verify again.")


def _metadata(model: spec.Model, live: Mapping[str, Any]) -> Iterator[str]:
    """Where the live tensors are not the declared ones; Triton writes -1 for a size that may vary."""
    sides: tuple[tuple[str, Mapping[str, spec.Input | spec.Output]], ...]
    sides = (("inputs", model.inputs), ("outputs", model.outputs))
    for side, declared in sides:
        wanted = {name: (tensor.dtype, _sizes(tensor.shape)) for name, tensor in declared.items()}
        got = {item["name"]: (_TYPES.get(item["datatype"], item["datatype"]), [int(size) for size in item["shape"]])
               for item in live.get(side, ())}  # fmt: skip
        for name in sorted(wanted.keys() | got.keys()):
            if wanted.get(name) != got.get(name):
                yield f"{side}: {name} is {_tensor(got.get(name))}, declared {_tensor(wanted.get(name))}"


def _sizes(shape: spec.Shape) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in shape]


def _tensor(tensor: tuple[str, list[int]] | None) -> str:
    return "missing" if tensor is None else f"{tensor[0]} {tensor[1]}"


def _golden(
    model: spec.Model, version: int, golden: Golden | None
) -> tuple[dict[int, tuple[Arrays, Arrays]], tuple[findings.Finding, ...]]:
    """The golden inputs and outputs of each batch, or why there are none: an edited golden proves nothing."""
    about = _About(model.name, version)
    if golden is None:
        return {}, (about.finding("golden-missing", "the lock has no golden of this version", "Run `lock`."),)
    data = files.read(golden.path, _LIMIT)
    got = "missing" if data is None else hashlib.sha256(data).hexdigest()
    if data is None or got != golden.sha256:
        msg = f"{golden.path} is {got}, expected sha256 {golden.sha256}"
        return {}, (about.finding("golden-digest", msg, "Remove that store entry and run `export` again."),)
    try:
        tensors = packed.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
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
