"""What a check saw: frozen data, no judgement about what to do with it."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec


class Severity(enum.StrEnum):
    """An error must stop a run, a warning must not."""

    ERROR = "error"
    WARNING = "warning"


class Where(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A place in a text file. `line` and `column` count from 1; `path` is the key's path, as `models.bert.inputs`."""

    file: str
    line: int
    column: int
    path: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a check saw.

    `rule` is a stable kebab-case name (`unknown-key`, `golden-mismatch`), `message` says what was found and what
    was expected, `hint` what to do next. `model` and `version` are set where the finding is about one. `source` says
    where a fact that comes from outside is written.
    """

    rule: str
    message: str
    severity: Severity = Severity.ERROR
    where: Where | None = None
    hint: str = ""
    model: str | None = None
    version: int | None = None
    source: str = ""


class Mismatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an output differs from its golden.

    `reason` is one of missing, unexpected, dtype, shape, not-finite, value. `expected` and `got` are texts: names of
    types, shapes, or the values at `index`, the worst place, counted from 0. `share` is the share of elements that
    are out of tolerance, `violations` their number; the errors are the largest finite ones of all elements.
    """

    output: str
    reason: str
    expected: str
    got: str
    index: tuple[int, ...] | None = None
    max_abs: float | None = None
    max_rel: float | None = None
    share: float | None = None
    violations: int | None = None

    def __str__(self) -> str:
        place = "" if self.index is None else f"[{', '.join(map(str, self.index))}]"
        text = f"{self.output}{place}: {self.reason}: expected {self.expected}, got {self.got}"
        numbers = [
            f"{name} {value:.3g}"
            for name, value in (("max abs error", self.max_abs), ("max rel error", self.max_rel))
            if value is not None
        ]
        if self.share is not None:
            numbers.append(f"{self.violations} elements ({self.share:.2%}) out of tolerance")
        return f"{text} ({', '.join(numbers)})" if numbers else text


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings in their order, with what is said of several versions of a model said once, of the model."""
    kept: dict[Finding, Finding] = {}
    for each in findings:
        alike = msgspec.structs.replace(each, version=None)
        kept[alike] = alike if alike in kept else each
    return tuple(kept.values())


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What a lower precision costs an output, over all answers that were compared: the cosine of the angle between
    the eager model's values and these, the largest error, and the share of rows whose largest value is at another
    place."""

    output: str
    cosine: float
    max_abs: float
    argmax_changed: float

    def __str__(self) -> str:
        numbers = f"cosine {self.cosine:.6f}, max abs error {self.max_abs:.1e}"
        return f"loss of {self.output}: {numbers}, argmax changed {self.argmax_changed:.2%}"


def errors(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that must stop a run."""
    return tuple(finding for finding in findings if finding.severity is Severity.ERROR)
