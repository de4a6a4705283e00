"""Triton's names for what runs a model: platforms, backends, and the usual names of the files in a version.

As Triton's core fills them in (`AutoCompleteBackendFields` in its model_config_utils.cc), whether or not a backend may
complete the rest of a config.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

ENSEMBLE = "ensemble"
BACKENDS = {
    "pytorch_libtorch": "pytorch",
    "torch_aoti": "pytorch",
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "tensorflow_savedmodel": "tensorflow",
    "tensorflow_graphdef": "tensorflow",
    ENSEMBLE: ENSEMBLE,
}
FILES = {
    "model.savedmodel": "tensorflow",
    "model.graphdef": "tensorflow",
    "model.plan": "tensorrt",
    "model.onnx": "onnxruntime",
    "model.xml": "openvino",
    "model.pt": "pytorch",
    "model.pt2": "pytorch",
    "model.py": "python",
}
"""The usual names, in the order in which Triton looks for them."""
_OF_FILES = {
    "model.savedmodel": "tensorflow_savedmodel",
    "model.graphdef": "tensorflow_graphdef",
    "model.pt2": "torch_aoti",
}


def backend(config: Mapping[str, Any]) -> str:
    """The backend that a config names: by itself, by its platform, or by its file; empty where none does."""
    named = config.get("backend") or BACKENDS.get(config.get("platform", ""), "")
    return str(named or FILES.get(config.get("default_model_filename", ""), ""))


def found(config: Mapping[str, Any], files: Collection[str]) -> str:
    """The usual file by which Triton finds a backend where the config names none; empty where none is there."""
    if backend(config) or config.get("platform"):
        return ""
    return next((name for name in FILES if name in files), "")


def named(file: str) -> dict[str, str]:
    """What a config says of a usual file so that nothing has to be found: its platform, or its backend."""
    if file in _OF_FILES:
        return {"platform": _OF_FILES[file]}
    return {"backend": FILES[file]}
