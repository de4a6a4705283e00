"""Verify: every served version is asked its goldens over HTTP and gRPC, and a live server is held against the spec.

Nothing is started, loaded or repaired here. Importing this imports numpy: only commands that verify do. `claims` reads
the goldens, `asking` asks them, `live` compares configs.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline import edges
from pipeline.core import report, rounds, spec
from pipeline.edges import inference, triton
from pipeline.stages.verify import claims as claiming
from pipeline.stages.verify import live
from pipeline.stages.verify.asking import Asker
from pipeline.stages.verify.claims import DEFAULT, About, Claim, Golden, Rules, Server

__all__ = ["Claim", "Golden", "Rules", "Server", "healthy", "verify"]

PROTOCOLS: tuple[inference.Protocol, ...] = ("http", "grpc")


def verify(
    project: edges.Project, declared: spec.Spec, claims: Mapping[str, Claim], server: Server, rules: Rules = DEFAULT
) -> report.Report:
    """Asks everything of the models in `claims`, and reports all that differs; `report.passed` judges it.

    Raises PipelineError where no Triton answers at all, or a failure's folder cannot be written. A foreign server is
    a finding, and is asked nothing more.
    """
    client = triton.Client(port=server.http, address=server.address, timeout=rules.timeout, key=server.key)
    identity = client.identity()
    about = report.Server(id=identity.name, version=identity.version)
    if identity.name != server.id:
        msg = f"{client.place} is the server {identity.name!r}, expected {server.id!r}"
        foreign = About().finding("server-identity", msg, "Stop that server, or choose other ports, and run `serve`.")
        return report.Report(project=project.spec.name, server=about, cases=(), findings=(foreign,))
    found = [
        finding for name, claim in claims.items() for finding in live.differences(client, declared.models[name], claim)
    ]
    cases: list[report.Case] = []
    for name, claim in claims.items():
        model = declared.models[name]
        for version in spec.served_versions(model):
            golden, wrong = claiming.read(model, version, claim.goldens.get(version))
            found.extend(wrong)
            cases.extend(Asker(project, model, version, server, rules).ask(PROTOCOLS, golden))
    return report.Report(project=project.spec.name, server=about, cases=tuple(cases), findings=tuple(found))


def healthy(project: edges.Project, model: spec.Model, version: int, golden: Golden, server: Server) -> bool:
    """Whether a version gives the answer of its smallest golden, asked once over HTTP. What it gives else is kept."""
    cases, wrong = claiming.read(model, version, golden)
    if wrong or not cases:
        return False
    smallest = min(cases)
    asker = Asker(project, model, version, server, Rules(repeat=rounds.ONCE))
    return all(case.outcome == "passed" for case in asker.ask(("http",), {smallest: cases[smallest]}))
