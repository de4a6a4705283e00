"""Asks one version of a model its goldens, again and again, and keeps what is needed to repeat a failure."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import msgspec

from pipeline import edges
from pipeline.core import compare, errors, findings, report, rounds, spec
from pipeline.edges import failures, inference
from pipeline.stages.verify.claims import Arrays, Cases, Rules, Server


class Asker:
    """Asks one version of one model."""

    def __init__(self, project: edges.Project, model: spec.Model, version: int, server: Server, rules: Rules) -> None:
        self.project, self.model, self.version, self.server, self.rules = project, model, version, server, rules
        export = model.versions[version].export
        self.outputs = spec.judged(model.outputs, export)
        self.lower = export is not None and export.precision != "fp32"

    def ask(self, protocols: tuple[inference.Protocol, ...], golden: Cases) -> tuple[report.Case, ...]:
        """Every golden over every protocol, as often as the rules say; after one that had no answer in time, none."""
        with contextlib.ExitStack() as clients:
            questions = [
                self._question(clients.enter_context(client), batch, given, expected)
                for client in (self._client(protocol) for protocol in (protocols if golden else ()))
                for batch, (given, expected) in sorted(golden.items())
            ]
            while (place := rounds.following([each.asked for each in questions], self.rules.repeat)) is not None:
                case = questions[place].ask()
                if case.outcome != "passed":
                    self._keep(questions[place])
                if case.outcome == "error" and case.milliseconds >= self.rules.timeout * 900:
                    break  # what is stuck lets each question wait as long
        return tuple(each.case for each in questions if each.asked.times)

    def _client(self, protocol: inference.Protocol) -> inference.Client:
        port = self.server.http if protocol == "http" else self.server.grpc
        return inference.Client(protocol, port, address=self.server.address, timeout=self.rules.timeout)

    def _question(self, client: inference.Client, batch: int, given: Arrays, expected: Arrays) -> _Question:
        case = report.Case(
            model=self.model.name, version=self.version, protocol=client.protocol, batch=batch, outcome="passed"
        )
        failures.clear(self.project.state / "failures", case)
        return _Question(self, client, case, given, expected)

    def _keep(self, question: _Question) -> None:
        """Keeps what is needed to repeat a failure, and says where."""
        parent = self.project.state / "failures"
        target = failures.place(parent, question.case)
        question.case = msgspec.structs.replace(question.case, folder=str(target.relative_to(self.project.root)))
        default = self.model.golden.tolerance
        failures.keep(
            parent,
            question.case,
            failures.Asked(
                address=self.server.address,
                port=self.server.http if question.case.protocol == "http" else self.server.grpc,
                tolerances={name: output.tolerance or default for name, output in self.outputs.items()},
                inputs=question.given,
                expected=question.expected,
                got=question.got,
            ),
        )


class _Question:
    """One golden over one protocol: asked again and again, never until it passes."""

    def __init__(
        self, asker: Asker, client: inference.Client, case: report.Case, given: Arrays, expected: Arrays
    ) -> None:
        self.asker, self.client, self.case, self.given, self.expected = asker, client, case, given, expected
        self.asked = rounds.Asked()
        self.got: Arrays = {}

    def ask(self) -> report.Case:
        """Asks once more; the case as it is then."""
        self.got, began = {}, time.perf_counter()
        try:
            self.got = self.client.infer(self.case.model, self.case.version, self.given, tuple(self.asker.outputs))
        except errors.PipelineError as error:
            waited = (time.perf_counter() - began) * 1000
            return self._seen(began, waited, outcome="error", message=error.message)
        slowest = max(self.case.milliseconds, (time.perf_counter() - began) * 1000)
        wrong = compare.answers(self.expected, self.got, self.asker.outputs, self.asker.model.golden.tolerance)
        losses = self._losses() if self.asker.lower and not wrong else ()
        return self._seen(began, slowest, outcome="failed" if wrong else "passed", mismatches=wrong, losses=losses)

    def _losses(self) -> tuple[findings.Loss, ...]:
        """What a lower precision costs in these answers."""
        losses = (compare.loss(name, [self.expected[name]], [self.got[name]]) for name in sorted(self.expected))
        return tuple(each for each in losses if each is not None)

    def _seen(self, began: float, milliseconds: float, **result: Any) -> report.Case:  # noqa: ANN401 - fields of a case
        times = self.asked.times + 1
        self.case = msgspec.structs.replace(self.case, repeats=times, milliseconds=round(milliseconds, 3), **result)
        seconds = self.asked.seconds + time.perf_counter() - began
        self.asked = rounds.Asked(times=times, seconds=seconds, wrong=self.case.outcome != "passed")
        return self.case
