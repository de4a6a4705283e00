"""What a check saw: frozen data, no judgement about what to do with it."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec


class Severity(enum.StrEnum):
    ERROR = "error"
    WARNING = "warning"


class Where(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A place in a text file. `line` and `column` count from 1; `path` is the key's path, such as `models.bert.inputs`."""

    file: str
    line: int
    column: int
    path: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a check saw.

    `rule` is a stable kebab-case name (`unknown-key`, `golden-mismatch`), `message` says what was found and what
    was expected, `hint` what to do next. `model` and `version` are set where the finding is about one.
    """

    rule: str
    message: str
    severity: Severity = Severity.ERROR
    where: Where | None = None
    hint: str = ""
    model: str | None = None
    version: int | None = None


def errors(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that must stop a run."""
    return tuple(finding for finding in findings if finding.severity is Severity.ERROR)
