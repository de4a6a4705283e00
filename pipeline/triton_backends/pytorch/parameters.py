"""The `parameters` of a config that the `pytorch` backend reads, parsed as NVIDIA's C++ backend parses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.triton_backends import words


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
    found = words.values(config)
    disabled = words.boolean(found, "DISABLE_OPTIMIZED_EXECUTION")
    words.boolean(found, "ENABLE_CACHE_CLEANING")
    inference_mode = words.boolean(found, "INFERENCE_MODE")
    fuser = words.boolean(found, "ENABLE_TENSOR_FUSER")
    words.boolean(found, "ENABLE_WEIGHT_SHARING")
    return Parameters(
        optimize=not disabled,
        inference_mode=inference_mode is not False,
        tensor_fuser=fuser,
        jit_profiling=words.boolean(found, "ENABLE_JIT_PROFILING"),
        jit_executor=words.boolean(found, "ENABLE_JIT_EXECUTOR"),
        intra_op=words.count(found, "INTRA_OP_THREAD_COUNT"),
        inter_op=words.count(found, "INTER_OP_THREAD_COUNT"),
    )
