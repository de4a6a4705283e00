"""The report of a verification: frozen data, and its two forms, JSON and JUnit XML. No clock, no file."""

from __future__ import annotations

import html
import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pipeline.core import findings

# Everything that XML 1.0 has no form for, and the controls that a terminal would obey.
_FORBIDDEN = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


UNASKED = "golden-none"
"""The rule of a model that nobody can ask, as its spec says."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Who answered."""

    id: Annotated[str, Meta(description="The server's id, as it says.")]
    version: Annotated[str, Meta(description="Triton's version, as it says.")]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One golden batch, asked of one version of a model over one protocol."""

    model: str
    version: int
    protocol: Annotated[Literal["http", "grpc"], Meta(description="How it was asked.")]
    batch: Annotated[int, Meta(ge=1, description="The number of rows asked at once.")]
    outcome: Annotated[
        Literal["passed", "failed", "error"],
        Meta(description="`failed`: it answered otherwise than the golden; `error`: it could not be asked."),
    ]
    milliseconds: Annotated[float, Meta(ge=0, description="The slowest answer; the first ones warm the model up.")] = (
        0.0
    )
    repeats: Annotated[int, Meta(ge=1, description="How often it was asked.")] = 1
    mismatches: Annotated[tuple[findings.Mismatch, ...], Meta(description="Every output that differs.")] = ()
    losses: Annotated[
        tuple[findings.Loss, ...], Meta(description="What a lower precision has cost, where the export has one.")
    ] = ()
    message: Annotated[str, Meta(description="Why it could not be asked.")] = ""
    folder: Annotated[str, Meta(description="What is needed to repeat a failure, relative to the project.")] = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found."""

    format: Annotated[Literal[1], Meta(description="The version of this format.")] = 1
    project: Annotated[str, Meta(description="The spec's path, as the project names it.")]
    server: Server
    cases: Annotated[tuple[Case, ...], Meta(description="Every golden that was asked.")]
    findings: Annotated[
        tuple[findings.Finding, ...],
        Meta(description="What else differs: goldens' digests, identity, metadata, config."),
    ] = ()


def passed(report: Report) -> bool:
    """Whether every golden was answered and nothing else is wrong. A report without a case has proven nothing, unless
    it says that there is nothing to ask."""
    unasked = any(finding.rule == UNASKED for finding in report.findings)
    answered = bool(report.cases or unasked) and all(case.outcome == "passed" for case in report.cases)
    return answered and not findings.errors(report.findings)


def questions(report: Report) -> dict[tuple[str, int], int]:
    """How many questions each version of a model has answered in all, where all its answers were right."""
    wrong = {(case.model, case.version) for case in report.cases if case.outcome != "passed"}
    counts: dict[tuple[str, int], int] = {}
    for case in report.cases:
        if (case.model, case.version) not in wrong:
            counts[case.model, case.version] = counts.get((case.model, case.version), 0) + case.repeats
    return counts


def dump_json(report: Report) -> str:
    """The report as JSON with two-space indent and a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"


def dump_junit(report: Report) -> str:
    """The report as JUnit XML: one suite a model version, and one for what is not about a golden."""
    suites: dict[str, list[str]] = {}
    for case in report.cases:
        suites.setdefault(f"{case.model}/{case.version}", []).append(_case(case))
    for finding in report.findings:
        suites.setdefault("checks", []).append(_finding(finding))
    body = [
        f"<testsuite name={_quote(name)} {_counts(cases)}>\n{''.join(cases)}</testsuite>\n"
        for name, cases in suites.items()
    ]
    total = _counts([text for cases in suites.values() for text in cases])
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites {total}>\n{"".join(body)}</testsuites>\n'


def _case(case: Case) -> str:
    name = f"{case.protocol} batch {case.batch}"
    head = f"<testcase classname={_quote(f'{case.model}.{case.version}')} name={_quote(name)}"
    head += f' time="{case.milliseconds / 1000:.6f}"'
    match case.outcome:
        case "passed":
            return f"{head}/>\n"
        case "failed":
            lines = [str(mismatch) for mismatch in case.mismatches]
            return f"{head}>{_result('failure', lines[0] if lines else case.message, lines, case.folder)}</testcase>\n"
        case "error":
            return f"{head}>{_result('error', case.message, [case.message], case.folder)}</testcase>\n"


def _finding(finding: findings.Finding) -> str:
    subject = f"{finding.model or 'server'}{'' if finding.version is None else f'.{finding.version}'}"
    head = f'<testcase classname={_quote(subject)} name={_quote(finding.rule)} time="0"'
    if finding.severity is findings.Severity.WARNING:
        return f"{head}><system-out>{_escape(finding.message)}</system-out></testcase>\n"
    return f"{head}>{_result('failure', finding.message, [finding.message, finding.hint], '')}</testcase>\n"


def _result(kind: str, message: str, lines: list[str], folder: str) -> str:
    text = "\n".join([*filter(None, lines), *([f"To repeat it: {folder}"] if folder else [])])
    return f"<{kind} message={_quote(message)}>{_escape(text)}</{kind}>"


def _counts(cases: list[str]) -> str:
    failures = sum("<failure " in text for text in cases)
    broken = sum("<error " in text for text in cases)
    return f'tests="{len(cases)}" failures="{failures}" errors="{broken}"'


def _visible(text: str) -> str:
    """Controls as text (`\\x1b`): XML has no form for them, and no log should obey them."""
    return _FORBIDDEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def _escape(text: str) -> str:
    return html.escape(_visible(text))


def _quote(text: str) -> str:
    """An attribute's value; a line break in one would be read as a blank."""
    return f'"{_escape(text)}"'.replace("\n", "&#10;").replace("\t", "&#9;")
