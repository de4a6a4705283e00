"""Triton's names for what runs a model: backends, backends, and the usual names of the files in a version.

As Triton's core fills them in (`AutoCompleteBackendFields` in its model_config_utils.cc), whether or not a backend may
complete the rest of a config.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from pipeline.core import spec

ENSEMBLE: Final = "ensemble"
EXPORTED = "pytorch"
"""What runs the artifacts that are exported here."""
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
"""The platforms of backends that have more than one."""


def of(entry: spec.ModelEntry) -> str:
    """The backend of a model as written: by its config, by the usual names of its files, or by its export; empty
    where a finished folder says nothing."""
    if entry.source == ENSEMBLE:
        return ENSEMBLE
    file = entry.source.file
    if file is not None and file.files:
        return backend(entry.config) or FILES.get(found(entry.config, _tops(file.files)), "")
    return (backend(entry.config) if file is not None else "") or EXPORTED


def _tops(files: Collection[str]) -> set[str]:
    """What lies in a version's folder: its files, and the folders of others."""
    return {name.partition("/")[0] for name in files}


def backend(config: Mapping[str, Any]) -> str:
    """The backend that a config names: by itself, by its platform, or by its file; empty where none does."""
    named = config.get("backend") or BACKENDS.get(config.get("platform", ""), "")
    return str(named or FILES.get(config.get("default_model_filename", ""), ""))


def found(config: Mapping[str, Any], files: Collection[str]) -> str:
    """The usual file by which Triton finds a backend where the config names none; empty where none is there."""
    if backend(config) or config.get("platform"):
        return ""
    return next((name for name in FILES if name in files), "")


def told(config: Mapping[str, Any], files: Collection[str], name: str) -> bool:
    """Whether Triton knows a model's backend: by its config, by a usual file, or by a name such as `model.identity`."""
    if backend(config) or found(config, _tops(files)):
        return True
    silent = not config.get("platform") and not config.get("default_model_filename")
    return silent and "." in name


def file(config: Mapping[str, Any]) -> str:
    """The usual file of the platform that a config names; empty where it names none, or its backend has but one."""
    return next((name for name, platform in _OF_FILES.items() if platform == config.get("platform")), "")
