"""Expected tensors against those that were got: names, types, shapes, finiteness, values. Pure numpy.

Only `verify` and its like import this, so that a command that compares nothing does not pay for numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.core import findings, spec

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def answers(
    expected: Mapping[str, Array], got: Mapping[str, Array], outputs: Mapping[str, spec.Output], default: spec.Tolerance
) -> tuple[findings.Mismatch, ...]:
    """Compares a whole answer with its golden, each output by its own tolerance; sorted by name."""
    found: list[findings.Mismatch] = []
    for name in sorted(expected.keys() | got.keys()):
        if name not in got:
            found.append(_mismatch(name, "missing", expected="an output of this name", got="none"))
        elif name not in expected:
            found.append(_mismatch(name, "unexpected", expected="no output of this name", got=_about(got[name])))
        else:
            declared = outputs.get(name)
            mismatch = compare(
                expected[name],
                got[name],
                (declared.tolerance if declared else None) or default,
                finite=declared.finite if declared else True,
                output=name,
            )
            found.extend([mismatch] if mismatch else [])
    return tuple(found)


def loss(output: str, expected: Sequence[Array], got: Sequence[Array]) -> findings.Loss | None:
    """What the answers `got` have lost of `expected`; None for an output that has no real numbers."""
    if any(array.dtype.kind != "f" for array in expected):
        return None
    first, second = (np.concatenate([array.astype(np.float64).ravel() for array in side]) for side in (expected, got))
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    places = [_places(array) != _places(other) for array, other in zip(expected, got, strict=True)]
    return findings.Loss(
        output=output,
        cosine=float(first @ second) / size if size else 1.0,
        max_abs=_largest(np.abs(first - second)) or 0.0,
        argmax_changed=float(np.concatenate(places).mean()),
    )


def _places(array: Array) -> Array:
    """Where each row has its largest value."""
    rows = array.reshape(array.shape[0], -1) if array.ndim > 1 else array.reshape(1, -1)
    return np.asarray(rows.argmax(axis=1))


def compare(
    expected: Array, got: Array, tolerance: spec.Tolerance, *, finite: bool = True, output: str = ""
) -> findings.Mismatch | None:
    """Compares two tensors; None where they agree.

    A real number agrees when |got - expected| <= atol + rtol * |expected|; -0 is 0. Booleans, integers and strings
    must be equal. With `finite`, NaN and infinity fail on either side: a golden that has them is no agreed answer.
    Without it they agree with their own kind only.
    """
    if _kind(expected) != _kind(got):
        return _mismatch(output, "dtype", expected=_kind(expected), got=_kind(got))
    if expected.shape != got.shape:
        return _mismatch(output, "shape", expected=str(list(expected.shape)), got=str(list(got.shape)))
    if _kind(expected) == "STRING":
        found = _exact(_bytes(expected), _bytes(got))
    elif expected.dtype.kind == "f":
        found = _close(expected.astype(np.float64), got.astype(np.float64), tolerance, finite=finite)
    else:
        found = _exact(expected, got)
    if found is None or found.index is None:
        return None
    at = found.index
    return msgspec.structs.replace(found, output=output, expected=_text(expected[at]), got=_text(got[at]))


def _close(expected: Array, got: Array, tolerance: spec.Tolerance, *, finite: bool) -> findings.Mismatch | None:
    """Real numbers, as float64, which holds every smaller type exactly."""
    real: Mask = np.isfinite(expected) & np.isfinite(got)
    same: Mask = (expected == got) | (np.isnan(expected) & np.isnan(got))
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got - expected)
        excess = error - (tolerance.atol + tolerance.rtol * np.abs(expected))
    unreal: Mask = ~real if finite else ~real & ~same
    bad: Mask = unreal | (real & (excess > 0))
    return _found(expected, got, bad, np.where(unreal, np.inf, excess), error)


def _exact(expected: Array, got: Array) -> findings.Mismatch | None:
    """Whatever must be equal; errors are given in numbers for integers, which may lose their last digits in it."""
    bad: Mask = np.asarray(expected != got, dtype=np.bool_)
    if expected.dtype.kind == "O":
        return _found(expected, got, bad, bad, None)
    error = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    return _found(expected, got, bad, error, error)


def _found(expected: Array, got: Array, bad: Mask, badness: Array, error: Array | None) -> findings.Mismatch | None:
    """The mismatch at the worst of the bad places, None where no place is bad."""
    if not bad.any():
        return None
    index = _worst(np.where(bad, badness, -np.inf))
    unreal = expected.dtype.kind == "f" and not (np.isfinite(expected[index]) and np.isfinite(got[index]))
    return findings.Mismatch(
        output="",
        reason="not-finite" if unreal else "value",
        expected="",
        got="",
        index=index,
        max_abs=None if error is None else _largest(error),
        max_rel=None if error is None else _largest(_relative(error, expected)),
        share=float(bad.mean()),
        violations=int(bad.sum()),
    )


def _relative(error: Array, expected: Array) -> Array:
    """Errors over the expected values; where that is 0 there is no relative error."""
    size = np.abs(expected.astype(np.float64))
    with np.errstate(all="ignore"):
        return np.asarray(np.where(size > 0, error / size, np.nan))


def _largest(values: Array) -> float | None:
    """The largest finite value, None where there is none."""
    real = values[np.isfinite(values)]
    return float(real.max()) if real.size else None


def _worst(badness: Array) -> tuple[int, ...]:
    """The place of the largest value, the first one of equals."""
    return tuple(int(at) for at in np.unravel_index(int(np.argmax(badness)), badness.shape))


def _kind(array: Array) -> str:
    """The type's name; texts are one type, however numpy holds them."""
    return "STRING" if array.dtype.kind in "OSU" else str(array.dtype.newbyteorder("="))


def _bytes(array: Array) -> Array:
    """Strings as objects of bytes, as Triton sends them."""
    flat = [item.encode() if isinstance(item, str) else bytes(item) for item in array.astype(object).ravel()]
    made = np.empty(len(flat), dtype=object)
    made[:] = flat
    return made.reshape(array.shape)


def _about(array: Array) -> str:
    return f"{_kind(array)} {list(array.shape)}"


def _text(value: object) -> str:
    """A value in the shortest form that tells it from its neighbours."""
    return repr(value) if isinstance(value, bytes) else str(value)


def _mismatch(output: str, reason: str, *, expected: str, got: str) -> findings.Mismatch:
    return findings.Mismatch(output=output, reason=reason, expected=expected, got=got)
