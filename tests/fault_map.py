"""Which test injects which fault: read off the tests' docstrings, and written into docs/faults.md.

`python -m tests.fault_map` writes the table's last column anew; test_fault_map holds it equal.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs/faults.md"
NONE = "none yet"
_NAMED = re.compile(r"\b[Rr]ows? (\d+(?:(?:, | and | to )\d+)*)")
_ROW = re.compile(r"\| (\d+) \| ([^|]+) \| ([^|]+) \| ?[^|]*\|")


def rows(docstring: str) -> set[int]:
    """The rows that a docstring names: `Row 7`, `Rows 1, 2 and 4`, `Rows 15 to 18`."""
    found: set[int] = set()
    for named in _NAMED.findall(docstring):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", named):
            found |= set(range(int(first), int(last or first) + 1))
    return found


def tests() -> dict[int, list[str]]:
    """The tests of each row, in the order of their files; a module that names a row stands for all of its tests."""
    found: dict[int, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, docstring in _docstrings(ast.parse(path.read_text(encoding="utf-8"))):
            for row in rows(docstring):
                found.setdefault(row, []).append(f"{path.relative_to(ROOT)}{name}")
    return found


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    yield "", ast.get_docstring(tree) or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name.lower().startswith("test"):
            yield f"::{node.name}", ast.get_docstring(node) or ""


def render(text: str, known: dict[int, list[str]]) -> str:
    """The document with its last column as the tests have it."""
    return "\n".join(_line(line, known) for line in text.splitlines()) + "\n"


def _line(line: str, known: dict[int, list[str]]) -> str:
    row = _ROW.fullmatch(line)
    if row is None:
        return line
    return f"| {row[1]} | {row[2]} | {row[3]} | {_column(known.get(int(row[1]), []))} |"


def _column(names: list[str]) -> str:
    """The tests by their files."""
    files: dict[str, list[str]] = {}
    for name in names:
        path, _, test = name.partition("::")
        files.setdefault(path, []).extend([test] if test else [])
    return "; ".join(f"`{path}`{': ' if each else ''}{', '.join(each)}" for path, each in files.items()) or NONE


def listed(text: str) -> list[int]:
    """The rows of the document."""
    return [int(row[1]) for line in text.splitlines() if (row := _ROW.fullmatch(line))]


if __name__ == "__main__":
    DOCUMENT.write_text(render(DOCUMENT.read_text(encoding="utf-8"), tests()), encoding="utf-8")
