"""What a config says to the `openvino` backend, parsed as NVIDIA's C++ backend parses it, and OpenVINO's types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from pipeline.triton_backends import named, refusals, words

TYPES = {
    "boolean": "TYPE_BOOL",
    "u8": "TYPE_UINT8",
    "u16": "TYPE_UINT16",
    "u32": "TYPE_UINT32",
    "u64": "TYPE_UINT64",
    "i8": "TYPE_INT8",
    "i16": "TYPE_INT16",
    "i32": "TYPE_INT32",
    "i64": "TYPE_INT64",
    "f16": "TYPE_FP16",
    "f32": "TYPE_FP32",
    "f64": "TYPE_FP64",
}
"""OpenVINO's names of the types that the backend takes, and the config's."""

RULES = named.Rules(dtypes=frozenset(TYPES.values()), converts=True)
FULL_PRECISION: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
"""Without these a processor that computes faster in 16 bits, or, of integer weights, in 8, does so; some then answer
with no rows."""

_COMPILING = "COMPILATION_NUM_THREADS"  # read, and passed over: the CPU of newer releases has no such property
_HINTS = ("latency", "throughput", "cumulative_throughput")


class Parameters(NamedTuple):
    """`properties` are OpenVINO's own, by their names. Without `padding` only full batches are answered."""

    properties: dict[str, Any]
    padding: bool
    reshape: bool
    extension: str


def parse(config: Mapping[str, Any]) -> Parameters:
    """Reads the known parameters; unknown ones are ignored. Raises Refused for one that does not parse."""
    found = words.values(config)
    lower = {key: value.lower() for key, value in found.items()}
    properties: dict[str, Any] = dict(FULL_PRECISION)
    for key in ("INFERENCE_NUM_THREADS", _COMPILING):
        if lower.get(key):
            properties[key] = _number(key, lower[key], "be a non-negative number")
    properties.pop(_COMPILING, None)
    if lower.get("HINT_BF16"):
        if lower["HINT_BF16"] != "yes":
            _refuse("HINT_BF16", lower["HINT_BF16"], "be YES")
        properties["INFERENCE_PRECISION_HINT"] = "bf16"
    if lower.get("NUM_STREAMS"):
        properties["NUM_STREAMS"] = _streams(lower["NUM_STREAMS"])
    if lower.get("PERFORMANCE_HINT"):
        if lower["PERFORMANCE_HINT"] not in _HINTS:
            _refuse("PERFORMANCE_HINT", lower["PERFORMANCE_HINT"], f"be {'/'.join(_HINTS).upper()}")
        properties["PERFORMANCE_HINT"] = lower["PERFORMANCE_HINT"].upper()
    return Parameters(
        properties=properties,
        padding=lower.get("ENABLE_BATCH_PADDING") == "yes",
        reshape=lower.get("RESHAPE_IO_LAYERS") == "yes",
        extension=found.get("CPU_EXTENSION_PATH", ""),
    )


def _streams(text: str) -> int | str:
    if text in {"auto", "numa"}:
        return text.upper()
    return _number("NUM_STREAMS", text, "be either AUTO/NUMA/<int_value>")


def _number(key: str, text: str, wanted: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        _refuse(key, text, wanted)
    return int(text)


def _refuse(key: str, text: str, wanted: str) -> NoReturn:
    raise refusals.Refused(refusals.INVALID, f"expected the parameter '{key}' to {wanted}, got {text}")
