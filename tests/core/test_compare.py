"""Answers against goldens: every kind of difference is seen, with its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.core import compare, findings, spec

DEFAULT = spec.Tolerance()
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, max_side=4)
FLOATS = arrays.arrays(np.float32, SHAPES, elements=st.floats(-1e6, 1e6, width=32))


def different(expected: Any, got: Any, **more: Any) -> findings.Mismatch:
    """The mismatch, which must be there."""
    found = compare.compare(np.asarray(expected), np.asarray(got), DEFAULT, output="o", **more)
    assert found is not None
    return found


def test_a_difference_has_its_numbers() -> None:
    """The worst place, both values in their own type, both errors and the share of violations are told."""
    expected = np.array([[1, 2, 3], [4, 0.1, 0]], np.float32)
    got = np.array([[1, 2.1, 3], [8, 0.1, 0]], np.float32)
    found = different(expected, got)
    assert found == findings.Mismatch(
        output="o",
        reason="value",
        expected="4.0",
        got="8.0",
        index=(1, 0),
        max_abs=4.0,
        max_rel=1.0,
        share=2 / 6,
        violations=2,
    )
    assert str(found) == (
        "o[1, 0]: value: expected 4.0, got 8.0 (max abs error 4, max rel error 1, 2 elements (33.33%) out of tolerance)"
    )


NAN, INF = float("nan"), float("inf")
REAL: list[tuple[list[float], list[float], bool, str | None]] = [
    ([1.0], [NAN], True, "not-finite"),
    ([NAN], [NAN], True, "not-finite"),
    ([NAN], [1.0], True, "not-finite"),
    ([1.0], [INF], True, "not-finite"),
    ([INF], [INF], True, "not-finite"),
    ([NAN], [NAN], False, None),
    ([INF], [INF], False, None),
    ([-INF], [INF], False, "not-finite"),
    ([INF], [1.0], False, "not-finite"),
    ([NAN], [1.0], False, "not-finite"),
    ([1.0], [NAN], False, "not-finite"),
    ([0.0], [-0.0], True, None),
    ([1e-40], [-1e-40], True, None),
    ([0.0], [1e-3], True, "value"),
    ([5.0, 5.0], [5.0, 5.0], True, None),
    ([3e38], [-3e38], True, "value"),
    ([1.0], [1.00005], True, None),
    ([1.0], [1.0002], True, "value"),
]


@pytest.mark.parametrize(("expected", "got", "finite", "reason"), REAL)
def test_real_numbers(expected: list[float], got: list[float], reason: str | None, *, finite: bool) -> None:
    """Row 46: NaN and infinity fail even beside their like unless declared; -0, denormals and equal values do not."""
    found = compare.compare(np.array(expected, np.float32), np.array(got, np.float32), DEFAULT, finite=finite)
    assert (found.reason if found else None) == reason


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", "bool"])
def test_whole_numbers_are_exact(dtype: str) -> None:
    """Integers and booleans must be equal, however large the tolerance, to the last of 64 bits."""
    info = np.iinfo(dtype) if dtype != "bool" else None
    high = info.max if info else True
    expected = np.array([high, high], dtype)
    got = np.array([high, high - 1 if info else False], dtype)
    found = compare.compare(expected, got, spec.Tolerance(rtol=1, atol=1e9))
    assert found is not None
    assert (found.index, found.expected, found.got) == ((1,), str(expected[1]), str(got[1]))
    assert compare.compare(expected, expected, DEFAULT) is None


def test_type_and_shape_come_first() -> None:
    """Another type or shape is told as such; texts are one type in each of numpy's forms."""
    assert different(np.zeros(2, np.float32), np.zeros(2, np.float64)).reason == "dtype"
    assert different(np.zeros(2, np.int32), np.zeros(2, np.int64)).got == "int64"
    assert different(np.zeros((2, 1), np.float32), np.zeros(2, np.float32)).reason == "shape"
    texts = np.array([b"a", b"b"], dtype=object)
    assert compare.compare(texts, np.array(["a", "b"]), DEFAULT) is None
    assert different(texts, np.array([b"a", b"c"], dtype=object)).index == (1,)
    assert compare.compare(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), DEFAULT) is None


def test_a_whole_answer() -> None:
    """Missing and unexpected outputs are told, and each output has its own tolerance."""
    wide = spec.Output(dtype="FP32", shape=(1,), tolerance=spec.Tolerance(rtol=0, atol=1))
    one, half = np.ones(1, np.float32), np.full(1, 0.5, np.float32)
    expected = {"wide": one, "narrow": one, "lost": one}
    got = {"wide": half, "narrow": half, "new": one}
    found = compare.answers(expected, got, {"wide": wide}, DEFAULT)
    assert [(mismatch.output, mismatch.reason) for mismatch in found] == [
        ("lost", "missing"),
        ("narrow", "value"),
        ("new", "unexpected"),
    ]


@given(FLOATS, st.floats(0, 1), st.floats(0, 10))
def test_equal_always_agrees(expected: compare.Array, rtol: float, atol: float) -> None:
    """An answer agrees with itself within any tolerance."""
    assert compare.compare(expected, expected.copy(), spec.Tolerance(rtol=rtol, atol=atol)) is None


@given(FLOATS, st.data(), st.floats(1e-6, 1e-2), st.floats(1e-6, 1))
def test_the_rule_is_the_written_one(expected: compare.Array, data: st.DataObject, rtol: float, atol: float) -> None:
    """A value passes when |got - expected| <= atol + rtol * |expected|, place by place, and no place is forgotten."""
    got = data.draw(arrays.arrays(np.float32, expected.shape, elements=st.floats(-1e6, 1e6, width=32)))
    found = compare.compare(expected, got, spec.Tolerance(rtol=rtol, atol=atol))
    bad = [
        index
        for index in np.ndindex(expected.shape)
        if abs(float(got[index]) - float(expected[index])) > atol + rtol * abs(float(expected[index]))
    ]
    assert (found.violations if found else 0) == len(bad)
    assert found is None or found.index in bad
