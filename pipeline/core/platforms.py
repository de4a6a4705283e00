"""How Triton names what it serves: to each export method its platform, backend and file, and what makes and serves it.

The facts of a format stand here once: the config, the spec's rules, the exporters and the environments read them. How
a file of a format is made is an exporter's business, whether an image can serve it that of `formats`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec

from pipeline.core import spec

Format = Literal["torchscript", "torch_aoti", "onnx", "openvino", "tensorflow", "tensorrt", "python"]


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """A format as Triton knows it.

    `platform` is what the config says, or, where Triton has no name for the format, the backend alone. `filename` is
    the file that Triton opens in a version's folder. `groups` are the environments' groups that make and serve it
    beside `torch`, `shaping` the libraries that shape its bytes beside torch's own, `serving` those that the embedded
    server runs it with. `refused` are the data types that the backend does not take, each with the reason. `defaults`
    are config fields that exports get, unless the spec has them itself, `batching` those where Triton batches. A
    `positional` backend takes names `<any>__<n>` for positions, and controls of sequences by no other name. Triton
    itself makes `instances` of a model on a CPU where the config says no number. The rest is what a backend cannot do:
    its tensors have no other `names` than `<name>__<n>`, its largest batch is `batches`, it has no `sequences`. Where
    `sources` are named, it is made of those alone. What is not `embedded` needs NVIDIA's image, and a GPU.
    """

    format: Format
    platform: str | None
    backend: str
    filename: str
    groups: tuple[str, ...] = ()
    shaping: tuple[str, ...] = ()
    serving: tuple[str, ...] = ()
    refused: dict[str, str] = {}
    defaults: dict[str, Any] = {}
    batching: dict[str, Any] = {}
    positional: bool = False
    names: tuple[str, str] | None = None
    instances: int = 1
    batches: int | None = None
    sequences: bool = True
    sources: tuple[str, ...] = ()
    embedded: bool = True


_AT_LOAD = "Triton's {} backend refuses it at load"
_NO_TEXT = {"STRING": "an exported model takes and gives no text here"}
_TORCH = {**dict.fromkeys(("UINT16", "UINT32", "UINT64", "BF16"), _AT_LOAD.format("pytorch")), **_NO_TEXT}

TORCHSCRIPT = Platform(
    format="torchscript",
    platform="pytorch_libtorch",
    backend="pytorch",
    filename="model.pt",
    refused=_TORCH,
    positional=True,
)
ONNX = Platform(
    format="onnx",
    platform="onnxruntime_onnx",
    backend="onnxruntime",
    filename="model.onnx",
    groups=("onnx",),
    shaping=("onnx", "onnx-ir", "onnxscript"),
    serving=("onnxruntime",),
    refused={"BF16": _AT_LOAD.format("onnxruntime"), **_NO_TEXT},
    # One instance has all cores: of two, each would have half of them.
    defaults={"instance_group": [{"count": 1}]},
    instances=2,
)

OPENVINO = Platform(
    format="openvino",
    platform=None,
    backend="openvino",
    filename="model.xml",
    groups=("openvino",),
    shaping=("onnx", "onnx-ir", "onnxscript", "openvino"),
    serving=("openvino",),
    refused={"BF16": _AT_LOAD.format("openvino"), **_NO_TEXT},
    defaults={"instance_group": [{"kind": "KIND_CPU"}]},  # it has no other, and a machine with GPUs would choose them
    # NVIDIA's backend answers full batches only, or, so, pads the others.
    batching={"parameters": {"ENABLE_BATCH_PADDING": {"string_value": "YES"}}},
)

AOTI = Platform(
    format="torch_aoti",
    platform="torch_aoti",
    backend="pytorch",
    filename="model.pt2",
    refused=_TORCH,
    positional=True,
    batches=1,
    sequences=False,
    names=("INPUT", "OUTPUT"),
    defaults={"instance_group": [{"kind": "KIND_CPU"}]},  # it is compiled for one
)

SAVEDMODEL = Platform(
    format="tensorflow",
    platform="tensorflow_savedmodel",
    backend="tensorflow",
    filename="model.savedmodel",
    groups=("tensorflow",),
    shaping=("keras", "tensorflow-cpu"),
    serving=("tensorflow-cpu",),
    refused={"BF16": _AT_LOAD.format("tensorflow"), **_NO_TEXT},
    defaults={"instance_group": [{"count": 1}]},
    instances=2,
    sources=("factory",),
)

TENSORRT = Platform(
    format="tensorrt",
    platform="tensorrt_plan",
    backend="tensorrt",
    filename="model.plan",
    groups=("onnx",),
    shaping=("onnx", "onnx-ir", "onnxscript"),
    refused={**dict.fromkeys(("UINT16", "UINT32", "UINT64", "FP64"), _AT_LOAD.format("tensorrt")), **_NO_TEXT},
    embedded=False,
)

PYTHON = Platform(format="python", platform=None, backend="python", filename="model.py")
TOKENIZER = msgspec.structs.replace(PYTHON, sources=("wheel", "path", "hub"))
LABELS = msgspec.structs.replace(PYTHON, sources=("wheel", "path", "hub", "config"))

METHODS: dict[str, Platform] = {
    "trace": TORCHSCRIPT,
    "script": TORCHSCRIPT,
    "onnx": ONNX,
    "openvino": OPENVINO,
    "aoti": AOTI,
    "savedmodel": SAVEDMODEL,
    "tensorrt": TENSORRT,
    "tokenizer": TOKENIZER,
    "labels": LABELS,
}
"""What each export method makes."""

PRECISIONS: dict[str, tuple[str, ...]] = {
    "trace": ("fp16", "bf16", "int8"),
    "script": ("fp16", "bf16", "int8"),
    "onnx": ("fp16", "int8"),
    "openvino": ("fp16", "int8"),
    "aoti": ("fp16", "bf16"),
    "tensorrt": ("fp16", "bf16"),
}
"""What each export method can compute with, beside fp32."""

KNOWN = (
    SAVEDMODEL,
    msgspec.structs.replace(SAVEDMODEL, platform="tensorflow_graphdef", filename="model.graphdef"),
    TENSORRT,
    ONNX,
    OPENVINO,
    TORCHSCRIPT,
    AOTI,
    PYTHON,
)
"""All that Triton knows by the name of a file, in the order in which it looks for them, exported here or not."""

_SUFFIXES = {".pt": TORCHSCRIPT, ".onnx": ONNX, ".xml": OPENVINO, ".pt2": AOTI, ".plan": TENSORRT}
"""What a finished file is, by the end of its name."""


def of_file(path: str) -> Platform | None:
    """The platform of a finished artifact, by its name; None for a file of no format that is known."""
    return _SUFFIXES.get(PurePosixPath(path).suffix)


def suffixes() -> str:
    """The ends of names that `of_file` knows, in words."""
    return ", ".join(_SUFFIXES)


def variant(config: dict[str, Any]) -> dict[str, Any] | None:
    """The config of a model for the embedded server, where it needs one of its own.

    That server is older than the platform `torch_aoti`, which its core refuses; the backend by name it takes.
    """
    if config.get("platform") != AOTI.platform:
        return None
    rest = {key: value for key, value in config.items() if key != "platform"}
    return {**rest, "backend": AOTI.backend, "default_model_filename": AOTI.filename}


def named(config: dict[str, Any]) -> Platform | None:
    """The platform of a config in plain data; None where it names none that is known."""
    key = "platform" if "platform" in config else "backend"
    return next((known for known in KNOWN if config.get(key) == getattr(known, key)), None)


def defaults(model: spec.Model) -> dict[str, Any]:
    """The config fields that a model gets where its spec has not said them. A finished file is served as it was."""
    platform = of_model(model)
    if all(version.export is None for version in model.versions.values()):
        return {}
    return platform.defaults | (platform.batching if model.max_batch_size else {})


def of(version: spec.Version) -> Platform:
    """The platform of a version whose spec was accepted."""
    if version.export is not None:
        return METHODS[version.export.method]
    return finished(version) or TORCHSCRIPT


def finished(version: spec.Version) -> Platform | None:
    """The platform of a finished file, or of a finished folder by the usual name of a file in it; None where no name
    tells it, and for the version of an ensemble."""
    file = version.source.file
    if file is None:
        return None
    return of_folder(file.files) if file.files else of_file(file.path)


def of_folder(files: Collection[str]) -> Platform | None:
    """The platform of a version's folder with these files, as Triton finds it."""
    there = {name.partition("/")[0] for name in files}
    return next((known for known in KNOWN if known.filename in there), None)


def of_model(model: spec.Model) -> Platform:
    """The platform of a model: its versions have one in common."""
    return of(next(iter(model.versions.values())))


def groups(declared: spec.Spec) -> tuple[str, ...]:
    """The environments' groups that a spec's formats need beside `torch`, sorted."""
    return tuple(sorted({group for model in declared.models.values() for group in of_model(model).groups}))


def serving(declared: spec.Spec) -> tuple[str, ...]:
    """The libraries that the embedded server runs a spec's models with, beside torch, sorted."""
    return tuple(sorted({name for model in declared.models.values() for name in of_model(model).serving}))
