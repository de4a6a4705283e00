"""The words that all parts of the spec share: names, types, numbers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$(?!\n)"
TENSOR_NAME = r"^[!-~](?:[ -~]{0,254}[!-~])?$(?!\n)"
AXIS_NAME = r"^[a-z][a-z0-9_]{0,63}$(?!\n)"
VERSION = r"^[1-9][0-9]{0,8}$(?!\n)"
CALLABLE = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$(?!\n)"
SHA256 = r"^[0-9a-f]{64}$(?!\n)"
_PART = r"(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f]{1,255}"
FILE_NAME = rf"^{_PART}(?:/{_PART}){{0,16}}$(?!\n)"
"""A file in a version's folder, by its path there."""
BESIDE_NAME = rf"^(?!config\.pbtxt$)(?![1-9][0-9]*(?:/|$))(?!\.){_PART}(?:/{_PART}){{0,16}}$(?!\n)"
"""A file in a model's folder that is neither its config nor a version's."""
BATCH = "batch"

Dtype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BF16",
    "STRING",
]
Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
Size = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,5}[kmg]$(?!\n)")]
"""Bytes as Docker writes them: a number and k, m or g, each 1024 of the one before."""
Sha256 = Annotated[
    str,
    Meta(
        pattern=SHA256,
        description="A sha256 digest: 64 lower-case hexadecimal digits.",
        examples=["b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"],
    ),
]


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A mapping of `pipeline.yaml`: unknown keys are faults."""
