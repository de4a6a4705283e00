"""What a config says, in the spec's own keys: tensors, version policy, numbers as people write them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pipeline.core import config, spec

_TYPES = frozenset(f"TYPE_{name}" for name in get_args(spec.Dtype))
_FLOATS = frozenset({"fp32_false_true", "minimum_slot_utilization"})
"""The fields of 32-bit numbers: their text has fewer digits than Python shows."""
_LARGEST = 3.4028235e38


class Refused(Exception):
    """A model that no spec can say, or that Triton itself would refuse."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def tensors(said: Mapping[str, Any]) -> dict[str, Any]:
    """Typed keys for the tensors. A size that may vary is an axis of its own: which ones are equal nobody has said."""
    batched = said.get("max_batch_size", 0)
    if batched < 0:
        msg = f"max_batch_size is {batched}"
        raise Refused(msg, "Triton refuses a negative one.")
    data: dict[str, Any] = {"max_batch_size": batched} if batched else {}
    axes = iter(range(1, 1_000_000))
    for field, key in (("input", "inputs"), ("output", "outputs")):
        found: dict[str, Any] = {}
        for tensor in said.get(field, []):
            name = tensor.get("name", "")
            if not name or name in found:
                msg = f"an {field} has no name" if not name else f"there are two {key} `{name[:80]}`"
                raise Refused(msg, "Triton takes tensors by their names.")
            found[name] = _tensor(tensor, batched > 0, axes)
        if not found:
            msg = f"its config has no {key}: Triton reads them off the artifact, and this pipeline does not let it"
            raise Refused(msg, "Ask a server that has it loaded (/v2/models/NAME/config), and write what it says.")
        data[key] = found
    return data


def _tensor(tensor: dict[str, Any], batched: bool, axes: Iterator[int]) -> dict[str, Any]:  # noqa: FBT001
    name, kind, dims = tensor["name"], tensor.get("data_type", ""), tensor.get("dims", [])
    if kind not in _TYPES:
        msg = f"the tensor `{name[:80]}` has no type"
        raise Refused(msg, "Write its data_type.")
    if not dims or any(size < 1 and size != -1 for size in dims):
        msg = f"the tensor `{name[:80]}` has the dims {dims}"
        raise Refused(msg, "Triton wants at least one, each 1 or above, or -1.")
    shape = [*([spec.BATCH] if batched else []), *(size if size > 0 else f"any_{next(axes)}" for size in dims)]
    more = {key: short(value) for key, value in tensor.items() if key not in config.TENSORS}
    return {"dtype": kind.removeprefix("TYPE_"), "shape": shape, **({"config": more} if more else {})}


def policy(said: Mapping[str, Any]) -> dict[str, Any]:
    """The typed key for which versions are served. Raises Refused for a policy that serves none."""
    match said.get("version_policy"):
        case None:
            return {}
        case {"all": _}:
            return {"version_policy": "all"}
        case {"latest": {"num_versions": int(count)}}:
            return {"version_policy": {"latest": count}}
        case {"specific": {"versions": [*chosen]}}:
            return {"version_policy": {"specific": chosen}}
    msg = "its version_policy serves no version"
    raise Refused(msg, "Triton refuses to load it: say which versions, or remove it.")


def short(value: Any, name: str = "") -> Any:  # noqa: ANN401 - plain data
    """The data with numbers of 32 bits as people write them: 0.1, not 0.10000000149011612."""
    match value:
        case dict():
            return {key: short(each, key) for key, each in value.items()}
        case list():
            return [short(each, name) for each in value]
        case float():
            return _shortest(value) if name in _FLOATS else _finite(value)
    return value


def _shortest(value: float) -> float:
    wanted = struct.pack("<f", _finite(value))
    texts = (float(f"{value:.{digits}g}") for digits in range(1, 18))
    return next(each for each in texts if abs(each) <= _LARGEST and struct.pack("<f", each) == wanted)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        msg = f"a field of its config is {value}"
        raise Refused(msg, "Write a number.")
    return value
