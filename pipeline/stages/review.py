"""Review: what a workflow tells people about a change, read from what the other commands have left in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline.core import errors, findings, jobs, lock, plan, review
from pipeline.edges import files, github

PLAN = "<!-- triton-pipeline: plan -->"
DRIFT = "<!-- triton-pipeline: drift -->"
TITLE = "The server is not what the branch says"
_LIMIT = 256 << 20
_Read = TypeVar("_Read")


class Papers(msgspec.Struct, frozen=True, kw_only=True):
    """The files that there are of a change; of all but the plan, one that is missing or empty says nothing."""

    plan: Path
    before: Path | None = None
    after: Path | None = None
    findings: Path | None = None
    goldens: Path | None = None
    report: Path | None = None


def read(papers: Papers) -> review.Review:
    """All that they say. Raises PipelineError for what cannot be read."""
    return review.Review(
        plan=read_plan(papers.plan),
        before=_maybe(papers.before, lambda text: lock.parse(text, file=str(papers.before))),
        after=_maybe(papers.after, lambda text: lock.parse(text, file=str(papers.after))),
        found=_findings(papers.findings),
        goldens=_findings(papers.goldens),
        report=_maybe(papers.report, review.read_report),
    )


def read_plan(path: Path) -> plan.Document:
    """A saved plan, whole. Raises PipelineError where there is none."""
    found = _maybe(path, review.read_plan)
    if found is None:
        msg = f"there is no plan {path}"
        raise errors.PipelineError(msg, hint="Make one with `plan --out FILE`.")
    return found


def _findings(path: Path | None) -> tuple[findings.Finding, ...]:
    return _maybe(path, review.read_findings) or ()


def _maybe(path: Path | None, parse: Callable[[bytes], _Read]) -> _Read | None:
    text = files.read(path.absolute(), _LIMIT) if path is not None else None
    if not text or not text.strip():
        return None
    try:
        return parse(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is not what it should be: {error}"
        raise errors.PipelineError(msg, hint="Make it anew: the command's own --json or --out writes it.") from error


def tell_matrix(made: plan.Document) -> jobs.Matrix:
    """The jobs, as outputs of the step too: `matrix`, and `any`, which is `true` where there is one."""
    found = jobs.matrix(made)
    github.set_output("matrix", msgspec.json.encode(found).decode())
    github.set_output("any", "true" if found.include else "false")
    return found


def tell_summary(text: str, out: Path | None) -> None:
    """The text as the step's summary, and in a file for the job that writes the comment."""
    github.add_summary(text)
    if out is not None:
        files.write(out.absolute(), text.encode())


def tell_comment(number: int, text: str) -> str | None:
    """The one comment of a pull request, edited or new: its address; None where the token may not write it."""
    try:
        return github.comment(github.repository(), number, PLAN, text)
    except github.Denied:
        return None


def tell_drift(made: plan.Document) -> str:
    """The one issue about drift: opened or brought up to date where something differs, else closed. Its address."""
    where = github.repository()
    if made.changes:
        return github.issue(where, DRIFT, TITLE, review.drift(made))
    return github.close_issue(where, DRIFT)


def read_text(path: Path) -> str:
    """A text for a comment. Raises PipelineError where there is none."""
    text = files.read(path.absolute(), _LIMIT)
    if text is None:
        msg = f"there is no text {path}"
        raise errors.PipelineError(msg, hint="`ci summary --out FILE` writes it.")
    return review.cut(text.decode(errors="replace"))
