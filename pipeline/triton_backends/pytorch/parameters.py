"""The `parameters` of a config that the `pytorch` backend reads, parsed as NVIDIA's C++ backend parses them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.triton_backends.pytorch import rules

_BOOLEANS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
# What std::stoi reads: blanks, a sign, digits; whatever follows the digits is ignored.
_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")


class Parameters(NamedTuple):
    """None leaves torch's own choice. Weight sharing and cache cleaning are read, and mean nothing on a CPU here."""

    optimize: bool
    inference_mode: bool
    intra_op: int | None
    inter_op: int | None
    jit_profiling: bool | None
    jit_executor: bool | None
    tensor_fuser: bool | None


def parse(config: Mapping[str, Any]) -> Parameters:
    """Reads the known parameters; unknown ones are ignored. Raises Refused for one that does not parse."""
    values = {key: str(value.get("string_value", "")) for key, value in config.get("parameters", {}).items()}
    disabled = _boolean(values, "DISABLE_OPTIMIZED_EXECUTION")
    _boolean(values, "ENABLE_CACHE_CLEANING")
    inference_mode = _boolean(values, "INFERENCE_MODE")
    fuser = _boolean(values, "ENABLE_TENSOR_FUSER")
    _boolean(values, "ENABLE_WEIGHT_SHARING")
    return Parameters(
        optimize=not disabled,
        inference_mode=inference_mode is not False,
        tensor_fuser=fuser,
        jit_profiling=_boolean(values, "ENABLE_JIT_PROFILING"),
        jit_executor=_boolean(values, "ENABLE_JIT_EXECUTOR"),
        intra_op=_count(values, "INTRA_OP_THREAD_COUNT"),
        inter_op=_count(values, "INTER_OP_THREAD_COUNT"),
    )


def threads(config: Mapping[str, Any], cores: int) -> int:
    """The threads of one instance: the cores divided by the model's instances, so that they do not fight."""
    count = sum(
        int(group.get("count") or 1) for group in config.get("instance_group", []) if group.get("kind") != "KIND_GPU"
    )
    return max(1, cores // max(1, count))


def _boolean(values: Mapping[str, str], key: str) -> bool | None:
    text = values.get(key)
    if text is None:
        return None
    if text.lower() not in _BOOLEANS:
        raise rules.Refused(rules.INVALID, f"failed to convert '{text}' to boolean")
    return _BOOLEANS[text.lower()]


def _count(values: Mapping[str, str], key: str) -> int | None:
    text = values.get(key)
    if text is None:
        return None
    match = _INTEGER.match(text)
    if match is None or not -(2**31) <= int(match[1]) < 2**31:
        raise rules.Refused(rules.INVALID, f"failed to convert '{text}' to integral number")
    return int(match[1]) if int(match[1]) > 0 else None
