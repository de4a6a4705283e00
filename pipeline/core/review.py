"""What a reviewer reads of a change, as Markdown: the plan, goldens in numbers, sizes, findings, answers.

Texts come from specs, models and servers that anybody may have written: they stand in code, where nothing is a link, a
mention or a tag, and the marks of code cannot be closed by them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from pipeline.core import findings, lock, plan, render, report

LIMIT = 60_000
"""GitHub refuses a comment of more than 65,536 letters."""
_BYTES = 1e6


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a change. `before` is the lock of the branch that it goes to, `after` the one that follows from
    it; `found` are the findings of `validate`, `goldens` those of a `lock` that was not told to accept them."""

    plan: plan.Document
    before: lock.Lock | None = None
    after: lock.Lock | None = None
    found: tuple[findings.Finding, ...] = ()
    goldens: tuple[findings.Finding, ...] = ()
    report: report.Report | None = None


def markdown(known: Review) -> str:
    """The whole text, of at most LIMIT letters."""
    made = plan.Plan(changes=known.plan.changes, notes=known.plan.notes)
    parts = [f"### {render.summary(made)}\n"]
    if made.changes or made.notes:
        parts.append(block(render.show_plan(made)))
    parts += _goldens(known.goldens)
    parts += _sizes(known.before, known.after)
    parts += _findings(known.found)
    if known.report is not None:
        parts += ["#### Answers\n", block(render.show_report(known.report))]
    return cut("\n".join(parts))


def drift(made: plan.Document) -> str:
    """The text of an issue about a server that is not what the branch says."""
    shown = render.show_plan(plan.Plan(changes=made.changes, notes=made.notes))
    intro = (
        "What runs is not what `pipeline.yaml` and `pipeline.lock` say. `heal` restores what was applied last, "
        "`apply` goes to what the branch says.\n"
    )
    return cut("\n".join([intro, block(shown)]))


def cut(text: str) -> str:
    """The text, and where it is too long its beginning, whole in its marks."""
    if len(text) <= LIMIT:
        return text
    kept = text[:LIMIT].rpartition("\n")[0]
    fences = re.findall(r"^`{3,}", kept, re.MULTILINE)
    closed = f"\n{fences[-1]}" if len(fences) % 2 else ""
    return f"{kept}{closed}\n\nThis is not all: the log of the job has the rest.\n"


def block(text: str) -> str:
    """A block of code that its own text cannot end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}\n"


def code(text: str) -> str:
    """A piece of code within a line, or a cell of a table."""
    plain = re.sub(r"\s+", " ", render.clean(text)).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`" if plain.strip() else ""


def _goldens(found: Iterable[findings.Finding]) -> Iterator[str]:
    changed = [each for each in found if each.rule == "golden-changed"]
    if changed:
        yield "#### Goldens\n"
        yield "".join(f"- {code(f'{each.model}/{each.version}')}: {code(each.message)}\n" for each in changed)


def _sizes(before: lock.Lock | None, after: lock.Lock | None) -> Iterator[str]:
    """Each file whose size changes, in a table."""
    old, new = _files(before), _files(after)
    rows = [
        f"| {code(name)} | {_megabytes(old.get(name))} | {_megabytes(new.get(name))} |\n"
        for name in sorted(old.keys() | new.keys())
        if after is not None and old.get(name) != new.get(name)
    ]
    if rows:
        yield "#### Sizes\n"
        yield "| file | before | after |\n|---|---|---|\n" + "".join(rows)


def _files(known: lock.Lock | None) -> dict[str, int]:
    return {
        f"{name}/{number}/{path}": file.size
        for name, model in (known.models if known else {}).items()
        for number, version in model.versions.items()
        for path, file in version.files.items()
        if file.size
    }


def _megabytes(size: int | None) -> str:
    return "(none)" if size is None else f"{size / _BYTES:.1f} MB" if size >= _BYTES / 10 else f"{size} B"


def _findings(found: tuple[findings.Finding, ...]) -> Iterator[str]:
    if found:
        yield "#### Findings\n"
        yield block(render.show_findings(found))


def read_plan(text: bytes) -> plan.Document:
    """A plan as `plan --out` writes it."""
    return msgspec.json.decode(text, type=plan.Document)


def read_findings(text: bytes) -> tuple[findings.Finding, ...]:
    """The findings in what a command printed with --json, whether it went well or not."""

    class Told(msgspec.Struct):
        findings: tuple[findings.Finding, ...] = ()

    return msgspec.json.decode(text, type=Told).findings if text.strip() else ()


def read_report(text: bytes) -> report.Report:
    """A report as `verify --report` writes it."""
    return msgspec.json.decode(text, type=report.Report)
