"""What a config says to the `tensorflow` backend, parsed as NVIDIA's C++ backend parsed it, and TensorFlow's types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.triton_backends import named, words

TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "string": "TYPE_STRING",
}
"""TensorFlow's names of the types that the backend takes, and the config's."""

RULES = named.Rules(dtypes=frozenset(TYPES.values()))
SIGNATURE = "serving_default"


class Parameters(NamedTuple):
    """None leaves the backend's own choice. `tag` and `signature` say which graph and which of its functions."""

    intra_op: int | None
    inter_op: int | None
    tag: str
    signature: str


def parse(config: Mapping[str, Any]) -> Parameters:
    """Reads the known parameters; unknown ones are ignored. Raises Refused for one that does not parse."""
    found = words.values(config)
    words.boolean(found, "TF_USE_PER_SESSION_THREADS")  # each instance has a process, and so its own
    words.integer(found, "MAX_SESSION_SHARE_COUNT")
    return Parameters(
        intra_op=words.count(found, "TF_NUM_INTRA_THREADS"),
        inter_op=words.count(found, "TF_NUM_INTER_THREADS"),
        tag=found.get("TF_GRAPH_TAG") or "serve",
        signature=found.get("TF_SIGNATURE_DEF") or SIGNATURE,
    )
