"""Words for people: plans, findings and errors as text. The wording of plans is frozen by tests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from pipeline.core import diff, documents, errors, findings, plan, report, rounds

if TYPE_CHECKING:
    from pipeline.core import updates

_COLOURS = {"+": "32", "~": "33", "-": "31", "-/+": "31", "error": "31;1", "warning": "33;1", "hint": "36", "bold": "1"}
_SHORT = 12
"""Letters of a commit that are shown."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_NO_CHANGES = "No changes. The files and the server match the spec."
_SUBJECTS = {
    diff.Kind.BUILD: "artifact",
    diff.Kind.COPY: "copy",
    diff.Kind.LOCK: "lock",
    diff.Kind.REPOSITORY: "model",
    diff.Kind.LOAD: "live model",
    diff.Kind.SERVER: "server",
}
_NEEDS = {
    diff.Kind.BUILD: "needs an export",
    diff.Kind.COPY: "needs its files copied into the store",
    diff.Kind.LOCK: "needs a new line in pipeline.lock",
    diff.Kind.REPOSITORY: "needs a file swap",
    diff.Kind.LOAD: "needs a model load",
    diff.Kind.SERVER: "needs a new server",
}


def clean(text: str) -> str:
    """Text from outside with its control characters shown, not obeyed."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def paint(text: str, style: str, *, colour: bool) -> str:
    """The text in a terminal's colour, if colour is wanted."""
    return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if colour else text


def show_plan(made: plan.Plan, *, colour: bool = False) -> str:
    """The plan in the field's known words, drift apart from planned changes."""
    lines = [clean(f"Note: {note}") for note in made.notes]
    drift = [change for change in made.changes if change.drift]
    planned = [change for change in made.changes if not change.drift]
    if drift:
        lines += ["Changed outside the pipeline:", "", *_changes(drift, colour=colour), ""]
    if planned:
        lines += ["Planned changes:", "", *_changes(planned, colour=colour), ""]
    lines.append(summary(made))
    return "\n".join(lines) + "\n"


def summary(made: plan.Plan) -> str:
    """The closing line."""
    if not made.changes:
        return _NO_CHANGES
    counted = plan.counts(made)
    return f"Plan: {counted.add} to add, {counted.change} to change, {counted.remove} to remove."


def _changes(changes: Iterable[diff.Change], *, colour: bool) -> Iterator[str]:
    for change in changes:
        sign = paint(f"{change.act.value:>3}", change.act.value, colour=colour)
        need = "" if change.act is diff.Act.REMOVE else f"  ({_NEEDS[change.kind]})"
        yield f"{sign} {_SUBJECTS[change.kind]} {clean(change.subject)}{need}"
        for field in change.fields:
            yield f"        {clean(field.path)}: {_value(field.old)} -> {_value(field.new)}"


def _value(value: object) -> str:
    """A field's value, digests shortened: the whole ones are in --json."""
    match value:
        case None:
            return "(none)"
        case str() as text if re.fullmatch(r"(sha256:)?[0-9a-f]{64}", text):
            return text[:19] if text.startswith("sha256:") else text[:12]
        case str() as text:
            return clean(text)
        case other:
            return clean(msgspec.json.encode(other).decode())


def show_findings(found: Iterable[findings.Finding], *, colour: bool = False) -> str:
    """One line a finding, `file:line:column: error: message`, with its hint below."""
    lines: list[str] = []
    for finding in found:
        place = f"{finding.where}: " if finding.where else f"{_named(finding)}: " if finding.model else ""
        word = paint(finding.severity.value, finding.severity.value, colour=colour)
        path = f" [{clean(finding.where.path)}]" if finding.where and finding.where.path else ""
        lines.append(f"{place}{word}: {clean(finding.message)}{path}")
        if finding.hint:
            lines.append(f"    {paint('hint', 'hint', colour=colour)}: {clean(finding.hint)}")
    return "".join(f"{line}\n" for line in lines)


def _named(finding: findings.Finding) -> str:
    version = "" if finding.version is None else f" version {finding.version}"
    return clean(f"model {finding.model}{version}")


def show_error(error: errors.PipelineError, *, colour: bool = False) -> str:
    """What went wrong, the details, every finding, and what to do next."""
    lines = [f"{paint('error', 'error', colour=colour)}: {clean(error.message)}\n"]
    lines += [f"    {clean(line)}\n" for line in error.details]
    lines.append(show_findings(error.findings, colour=colour))
    if error.hint:
        lines.append(f"{paint('hint', 'hint', colour=colour)}: {clean(error.hint)}\n")
    return "".join(lines)


def workflow_commands(found: Iterable[findings.Finding]) -> str:
    """The findings as workflow commands of GitHub Actions, which shows them beside the line."""
    return "".join(f"::{f.severity.value}{_position(f)}::{_escape(f'{f.message} {f.hint}'.strip())}\n" for f in found)


def _position(finding: findings.Finding) -> str:
    if finding.where is None:
        return ""
    where = finding.where
    return f" file={_escape(where.file, extra=True)},line={where.line},col={where.column}"


def _escape(text: str, *, extra: bool = False) -> str:
    """GitHub's escapes for workflow commands: data, and (`extra`) properties."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if extra else text


def show_status(made: documents.Status) -> str:
    """The server in one line, the release, and a table of the models."""
    head = ["MODEL", "VERSIONS", "SYNC", "HEALTH", "DIGEST"]
    rows = [
        [row.model, ",".join(map(str, row.versions)) or "-", row.sync, row.health, _value(row.digest or "-")]
        for row in made.models
    ]
    applied = "" if made.release is None else f"Release {made.release} was applied last.\n"
    return f"{clean(made.server)}\n{applied}{_table(head, rows)}"


def show_history(made: documents.History) -> str:
    """What was deployed, newest first; a star marks the release that was applied last."""
    head = ["RELEASE", "COMMAND", "WHEN", "SECONDS", "RESULT", "DIGEST"]
    rows = [
        [
            f"{each.release or '-'}{'*' if each.release is not None and each.release == made.current else ''}",
            each.command,
            each.start,
            f"{each.seconds:g}",
            each.result + (f": {each.message}" if each.message else ""),
            _value(each.digest) if each.digest else "-",
        ]
        for each in reversed(made.entries)
    ]
    return _table(head, rows) if rows else "Nothing was deployed here yet.\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def show_rebuilt(made: documents.Rebuilt) -> str:
    """What was built again, and that it is what the lock says."""
    words = {True: "the same bytes", False: "other bytes, as its format has each time, and the same goldens"}
    lines = [f"{each.model} {each.version}: {words[each.exact]}" for each in made.versions]
    return "\n".join([*lines, f"The lock holds: {len(lines)} versions built again, {made.digest}."]) + "\n"


def show_updates(made: updates.Updates, *, colour: bool = False) -> str:
    """What is newer, a line each, and the plan that follows from it."""
    if not made.updates:
        return "Nothing newer fits.\n"
    lines = [
        f"~ {each.path}: {each.name} {each.before[:_SHORT]} -> {each.after[:_SHORT]}"
        + (f" ({each.note})" if each.note else "")
        for each in made.updates
    ]
    planned = plan.Plan(changes=made.plan.changes, notes=made.plan.notes) if made.plan else None
    text = "".join(f"{clean(line)}\n" for line in lines)
    return f"{text}\n{show_plan(planned, colour=colour)}" if planned else text


def show_rendering(made: documents.Rendering) -> str:
    """The run line or the compose file as it is, or the configs, each under the path of its file."""
    configs = "\n".join(f"# model_repository/{name}/config.pbtxt\n{text}" for name, text in made.configs.items())
    return made.docker_run or made.compose or configs


def show_outcome(made: documents.Outcome, *, colour: bool = False) -> str:
    """What a deployment did, the answers that prove it, and the release that is live."""
    done = "".join(f"{line}\n" for line in _changes(made.changes, colour=colour))
    proven = show_report(made.report, colour=colour) if made.report else ""
    return f"{done}{proven}Release {made.release} is live.\n" if done or proven else f"{_NO_CHANGES}\n"


def show_report(made: report.Report, *, colour: bool = False) -> str:
    """One line a golden, every mismatch in numbers, and the count that closes it."""
    lines: list[str] = []
    for case in made.cases:
        word = paint(case.outcome, _OUTCOMES[case.outcome], colour=colour)
        about = f"{case.model} {case.version}  {case.protocol}  batch {case.batch}"
        lines.append(f"{word:<6} {clean(about)}  {case.milliseconds:.1f} ms")
        lines += [f"       {clean(str(each))}" for each in (*case.mismatches, *case.losses)]
        lines += [f"       {clean(case.message)}"] * bool(case.message)
        lines += [f"       to repeat it: {clean(case.folder)}"] * bool(case.folder)
    lines += [
        f"{clean(name)} {version} was slow: it answered {count} questions, which would meet 1 wrong answer in "
        f"{1 / rounds.SHARE:.0f} in {rounds.certainty(count):.0%} of cases."
        for (name, version), count in report.questions(made).items()
        if count < rounds.QUESTIONS
    ]
    text = "".join(f"{line}\n" for line in lines) + show_findings(made.findings, colour=colour)
    good = sum(case.outcome == "passed" for case in made.cases)
    return f"{text}{good} of {len(made.cases)} goldens verified against Triton {clean(made.server.version)}.\n"


_OUTCOMES = {"passed": "+", "failed": "error", "error": "error"}
