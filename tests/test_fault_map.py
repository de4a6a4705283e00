"""docs/faults.md tells which test injects which fault, and no fault that is promised is without one."""

from __future__ import annotations

import pytest

from tests import fault_map

PROMISED = {*range(1, 14), *range(15, 52), *range(55, 60), *range(65, 73)}
"""The faults of exports, files, releases and the embedded server. Those of containers come with them."""


def test_the_map_is_up_to_date() -> None:
    """The column of tests is what the docstrings say; `python -m tests.fault_map` writes it."""
    text = fault_map.DOCUMENT.read_text(encoding="utf-8")
    assert text == fault_map.render(text, fault_map.tests())


def test_every_row_is_there() -> None:
    """The table has each row once, in order, and each row that a test names."""
    listed = fault_map.listed(fault_map.DOCUMENT.read_text(encoding="utf-8"))
    assert listed == list(range(1, 76))
    assert set(fault_map.tests()) <= set(listed)


def test_every_promised_fault_is_injected() -> None:
    """Each row of what is promised has a test."""
    assert sorted(PROMISED - set(fault_map.tests())) == []


@pytest.mark.parametrize(
    ("docstring", "named"),
    [
        ("Row 7: x.", {7}),
        ("FAULTS rows 1 and 4: x", {1, 4}),
        ("Rows 33, 37, 57 and 67: `plan` exits 2", {33, 37, 57, 67}),
        ("Rows 15 to 18: x", {15, 16, 17, 18}),
        ("x (row 61).", {61}),
        ("The rows of a table, 12 of them.", set()),
    ],
)
def test_rows_are_read(docstring: str, named: set[int]) -> None:
    """Rows are named one by one, or from one to another."""
    assert fault_map.rows(docstring) == named
