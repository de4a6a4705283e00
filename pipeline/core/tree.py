"""A tree of plain data with marks: every value knows its line and column, and what was written there.

Faults are told by their path here; the tree turns them into findings with a place. Nothing here reads YAML
(`yamltext` does) or knows what the data means.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Container, Iterable
from typing import Any, TypeAlias

import msgspec

from pipeline.core import findings

Path: TypeAlias = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong at a path of the tree. `on_key` points at the key, not at its value."""

    path: Path
    rule: str
    message: str
    hint: str = ""
    on_key: bool = False
    severity: findings.Severity = findings.Severity.ERROR
    source: str = ""


class Mark(msgspec.Struct, frozen=True):
    """Where a value (or a key) stands, both from 1, and its text where that was a plain scalar."""

    line: int
    column: int
    text: str | None = None


class Tree(msgspec.Struct, kw_only=True):
    """The data of one document with its marks.

    `faults` holds what the reader itself refused, `poisoned` the paths whose values are therefore not what was meant,
    `nulls` the paths of empty values. It is not `complete` where the text could not be read to its end.
    """

    file: str
    complete: bool = True
    data: Any = None
    values: dict[Path, Mark] = {}
    keys: dict[Path, Mark] = {}
    nulls: list[Path] = []
    faults: list[findings.Finding] = []
    poisoned: set[Path] = set()

    def where(self, path: Path, *, on_key: bool = False) -> findings.Where:
        """The place of `path`, or of its nearest ancestor that was written."""
        known = path
        while known and known not in self.values:
            known = known[:-1]
        marks = self.keys if known in self.keys and (on_key or known != path) else self.values
        mark = marks.get(known, Mark(1, 1))
        return findings.Where(file=self.file, line=mark.line, column=mark.column, path=dotted(path))

    def is_poisoned(self, path: Path) -> bool:
        """Whether `path` is at or below a value that the reader refused."""
        return bool(self.poisoned) and any(path[:size] in self.poisoned for size in range(len(path) + 1))

    def finding(self, fault: Fault) -> findings.Finding:
        """The fault as a finding of this file."""
        where = self.where(fault.path, on_key=fault.on_key)
        is_of_model = len(fault.path) > 1 and fault.path[0] == "models"
        return findings.Finding(
            rule=fault.rule,
            message=fault.message,
            where=where,
            hint=fault.hint,
            severity=fault.severity,
            model=str(fault.path[1]) if is_of_model else None,
            source=fault.source,
        )


def dotted(path: Path) -> str:
    """The path as people write it: `models.bert.inputs.input__0.shape[1]`; unusual keys are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (
                step[:60] if _BARE.fullmatch(step) else json.dumps(step[:60], ensure_ascii=True)
            )
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint: the known word that `word` was probably meant to be, and the choice where it is small."""
    choice = [str(each) for each in known]
    folded = {each.casefold(): each for each in choice}
    close = difflib.get_close_matches(word.casefold()[:100], folded, n=1, cutoff=0.6)
    meant = f"did you mean `{folded[close[0]]}`? " if close else ""
    listed = f"known here: {', '.join(choice)}" if choice and len(choice) <= 30 else ""
    return (meant + listed).strip()


def exactly_one(path: Path, written: Container[str], known: Iterable[str]) -> Fault:
    """The fault of a mapping that must have one key of `known` and has none or several."""
    choice = list(known)
    has = [f"`{key}`" for key in choice if key in written]
    message = f"expected exactly one of {', '.join(f'`{key}`' for key in choice)}, found {' and '.join(has) or 'none'}"
    return Fault(path=path, rule="exactly-one", message=message, on_key=True)
