"""What a config says to the `onnxruntime` backend, parsed as NVIDIA's C++ backend parses it, and the types of ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.triton_backends import named, refusals, words

TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
"""ONNX Runtime's names of the types that the backend takes, and the config's."""

RULES = named.Rules(dtypes=frozenset(TYPES.values()))
_LEVELS = {-1: "ORT_ENABLE_BASIC", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL"}
_DEVICE_ALLOCATOR = "session.use_device_allocator_for_initializers"
_SHRINKAGE = "memory.enable_memory_arena_shrinkage"


class Parameters(NamedTuple):
    """None leaves the backend's or ONNX Runtime's own choice. `level` and `mode` are ONNX Runtime's names, `entries`
    go into the session's options, `run` into each run's."""

    level: str
    mode: str
    intra_op: int | None
    inter_op: int | None
    mem_arena: bool | None
    mem_pattern: bool | None
    entries: dict[str, str]
    run: dict[str, str]


def parse(config: Mapping[str, Any]) -> Parameters:
    """Reads the known parameters; unknown ones are ignored. Raises Refused for one that does not parse."""
    found = words.values(config)
    mode = words.integer(found, "execution_mode") or 0
    if mode not in {0, 1}:
        text = "Invalid configuration value provided. Expected values for  execution_mode are 0 or 1 but got"
        raise refusals.Refused(refusals.INVALID, f"{text} {mode} .")
    _refuse_accelerators(config)
    words.boolean(found, "share_session_between_instances")  # each instance has a process: there is none to share with
    return Parameters(
        level=_LEVELS.get(_level(config), "ORT_ENABLE_ALL"),
        mode="ORT_PARALLEL" if mode else "ORT_SEQUENTIAL",
        intra_op=words.count(found, "intra_op_thread_count"),
        inter_op=words.count(found, "inter_op_thread_count"),
        mem_arena=words.boolean(found, "enable_mem_arena"),
        mem_pattern=words.boolean(found, "enable_mem_pattern"),
        entries={key: found[key] for key in (_DEVICE_ALLOCATOR,) if key in found},
        run={key: found[key] for key in (_SHRINKAGE,) if key in found},
    )


def _level(config: Mapping[str, Any]) -> int:
    graph = (config.get("optimization") or {}).get("graph") or {}
    return int(graph.get("level", 0))


def _refuse_accelerators(config: Mapping[str, Any]) -> None:
    """On a CPU the C++ backend knows `openvino`; the ONNX Runtime of the package index has none."""
    accelerators = (config.get("optimization") or {}).get("execution_accelerators") or {}
    for each in accelerators.get("cpu_execution_accelerator", []):
        text = f"unknown Execution Accelerator '{each.get('name', '')}' is requested"
        raise refusals.Refused(refusals.INVALID, text)
