"""`pipeline.yaml` as it is written. The JSON Schema that editors use is generated from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pipeline.core.spec.base import (
    AXIS_NAME,
    BESIDE_NAME,
    MODEL_NAME,
    TENSOR_NAME,
    VERSION,
    Node,
    Seconds,
    Sha256,
    Size,
)
from pipeline.core.spec.source import Source
from pipeline.core.spec.target import Target
from pipeline.core.spec.tensor import Axis, Input, Output, Tolerance

Method = Literal["trace", "script", "onnx", "openvino", "aoti", "savedmodel", "tensorrt", "tokenizer", "labels"]

Precision = Literal["fp32", "fp16", "bf16", "int8"]


class Export(Node, frozen=True, kw_only=True):
    """How a source becomes an artifact."""

    method: Annotated[
        Method,
        Meta(
            description="`trace` records one run, `script` compiles the code: TorchScript both. `onnx`: torch.export's "
            "graph as ONNX. `openvino`: the same as OpenVINO's IR. `aoti`: the same compiled by AOTInductor. "
            "`savedmodel`: a Keras or TensorFlow model of a `factory`. `tensorrt`: an engine for this machine's GPU. "
            "`tokenizer`: a Python model that turns texts into the source's tokens. `labels`: a Python model that "
            "turns logits into the source's label and its score.",
            examples=["trace"],
        ),
    ]
    opset: Annotated[
        Annotated[int, Meta(ge=11, le=99)] | None,
        Meta(
            description="The ONNX opset; by default 18, or the newest that the image loads where that is older.",
            examples=[18],
        ),
    ] = None
    precision: Annotated[
        Precision,
        Meta(
            description="What the artifact computes with, where the method has it; the goldens stay the eager model's "
            "own. `int8` is dynamic: weights are integers, activations become so in each run (of openvino the weights "
            "alone are).",
            examples=["fp16"],
        ),
    ] = "fp32"
    tolerance: Annotated[
        Tolerance | None,
        Meta(
            description="How far this export's answers may be from the golden ones, in place of all other tolerances; "
            "by default those, or wide ones for a lower precision.",
            examples=[{"rtol": 1e-2, "atol": 1e-2}],
        ),
    ] = None
    timeout: Annotated[Seconds, Meta(description="Seconds after which the export is killed.")] = 900.0
    memory: Annotated[
        Size | None,
        Meta(
            description="Memory of the export process and its children; more is killed. By default all that the "
            "machine has free but a twentieth.",
            examples=["16g"],
        ),
    ] = None
    disk: Annotated[
        Size | None,
        Meta(
            description="Room on the disk for all that the export writes; by default all that is free but a fiftieth.",
            examples=["64g"],
        ),
    ] = None


class Golden(Node, frozen=True, kw_only=True):
    """Inputs with the outputs that the eager model gave at export: what the server must answer."""

    none: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1000)] | None,
        Meta(
            description="Why the model cannot be asked: it is only proven to load, and reports say so. For finished "
            "files of a format that does not run here, for ensembles of such, and for what no single request can ask.",
            examples=["the backend dali runs in the image only"],
        ),
    ] = None
    texts: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=100_000)], ...],
        Meta(
            description="Sentences to tokenize, or the values of STRING inputs; repeated in turn to fill a batch. "
            "Without them inputs are random.",
            max_length=1000,
        ),
    ] = ()
    tokenizer: Annotated[
        str | None,
        Meta(
            description="The model whose source has the tokenizer; by default this model's own source.",
            examples=["minilm"],
        ),
    ] = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="Seed of random inputs.")] = 0
    batches: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=2**31 - 1)] | Literal["max"], ...],
        Meta(description="The batch sizes; `max` is max_batch_size.", min_length=1, max_length=16),
    ] = (1, 2, "max")
    tolerance: Annotated[Tolerance, Meta(description="How far a served value may be from the golden one.")] = (
        Tolerance()
    )


class Warmup(Node, frozen=True, kw_only=True):
    """Requests that every instance answers before the model counts as loaded."""

    data: Annotated[
        Literal["goldens", "zeros", "random"],
        Meta(
            description="What the requests hold: a row of the goldens, zeros, or random bytes. Zeros and random bytes "
            "are as large as the bounds of the axes let them be.",
            examples=["goldens"],
        ),
    ]
    batches: Annotated[
        Annotated[
            tuple[Annotated[int, Meta(ge=1, le=2**31 - 1)] | Literal["max"], ...], Meta(min_length=1, max_length=16)
        ]
        | None,
        Meta(description="The batch sizes; by default the goldens'.", examples=[[1, "max"]]),
    ] = None
    count: Annotated[int, Meta(ge=1, le=1000, description="How often each is asked.")] = 1


class Beside(Node, frozen=True, kw_only=True):
    """A file that lies beside config.pbtxt."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=4096,
            description="The file, relative to pipeline.yaml.",
            examples=["labels/imagenet.txt"],
        ),
    ]
    sha256: Annotated[
        Sha256 | None,
        Meta(
            description="Its digest, where it may not change; by default the lock alone pins it.",
            examples=["b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"],
        ),
    ] = None


class VersionPolicy(Node, frozen=True, kw_only=True):
    """Which versions are served: exactly one of these keys."""

    latest: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Serve the n newest versions.", examples=[1])
    ] = None
    specific: Annotated[
        Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(min_length=1)] | None,
        Meta(description="Serve these versions.", examples=[[1, 2]]),
    ] = None


class Override(Node, frozen=True, kw_only=True):
    """What one version changes of its model."""

    source: Annotated[
        dict[str, Any],
        Meta(description="Merged key by key into the model's source.", examples=[{"config": {"seed": 1}}]),
    ] = {}
    export: Annotated[
        Method | Export | None,
        Meta(description="In place of the model's export.", examples=["script"]),
    ] = None


class ModelEntry(Node, frozen=True, kw_only=True):
    """One Triton model as it is written in the spec."""

    source: Annotated[
        Literal["ensemble"] | Source,
        Meta(
            description="Where weights and code come from; `ensemble` for a model that runs others, as "
            "ensemble_scheduling in its config says.",
            examples=[{"path": "weights/bert"}, "ensemble"],
        ),
    ]
    export: Annotated[
        Method | Export | None,
        Meta(
            description="How the artifact is made; not for a `file` source, which is one.",
            examples=["trace", "onnx", {"method": "script", "timeout": 600}],
        ),
    ] = None
    max_batch_size: Annotated[
        int, Meta(ge=0, le=2**31 - 1, description="The largest batch; 0 turns Triton's batching off.", examples=[32])
    ] = 0
    inputs: Annotated[
        dict[Annotated[str, Meta(pattern=TENSOR_NAME)], Input],
        Meta(
            min_length=1,
            description="The inputs, in order.",
            examples=[{"input__0": {"dtype": "INT32", "shape": ["batch", 256], "argument": "input_ids"}}],
        ),
    ]
    outputs: Annotated[
        dict[Annotated[str, Meta(pattern=TENSOR_NAME)], Output],
        Meta(
            min_length=1,
            description="The outputs, in order.",
            examples=[{"output__0": {"dtype": "FP32", "shape": ["batch", 2], "result": "logits"}}],
        ),
    ]
    axes: Annotated[
        dict[Annotated[str, Meta(pattern=AXIS_NAME)], Axis],
        Meta(description="Bounds of the named axes of the shapes.", examples=[{"sequence": {"min": 1, "max": 512}}]),
    ] = {}
    versions: Annotated[
        dict[Annotated[str, Meta(pattern=VERSION)], Override | None],
        Meta(description="The versions, each with what it changes; by default one, number 1."),
    ] = msgspec.field(default_factory=lambda: {"1": Override()})
    version_policy: Annotated[
        Literal["all"] | VersionPolicy | None,
        Meta(
            description="Which versions Triton serves; by default its own rule, the newest one.",
            examples=["all", {"specific": [1, 2]}],
        ),
    ] = None
    golden: Annotated[Golden, Meta(description="The questions whose answers prove the served model.")] = Golden()
    warmup: Annotated[
        Literal["goldens", "zeros", "random"] | Warmup | None,
        Meta(
            description="Requests that every instance answers before the model counts as loaded.",
            examples=["goldens", {"data": "zeros", "batches": [1, "max"], "count": 2}],
        ),
    ] = None
    files: Annotated[
        dict[Annotated[str, Meta(pattern=BESIDE_NAME)], Annotated[str, Meta(min_length=1, max_length=4096)] | Beside],
        Meta(
            description="Files that lie beside config.pbtxt, by their path there: labels, data for warm-up or initial "
            "states, a packed environment.",
            examples=[{"labels.txt": "labels/imagenet.txt"}],
        ),
    ] = {}
    config: Annotated[
        dict[str, Any],
        Meta(
            description="Any further field of Triton's ModelConfig, by its protobuf name.",
            examples=[{"dynamic_batching": {"max_queue_delay_microseconds": 100}}],
        ),
    ] = {}


class Document(Node, frozen=True, kw_only=True):
    """A `pipeline.yaml`: models, their sources, and the server that they are served by."""

    version: Annotated[Literal[1], Meta(description="The version of this format.", examples=[1])]
    target: Annotated[
        Target,
        Meta(description="Where the models are served.", examples=[{"image": "nvcr.io/nvidia/tritonserver:23.08-py3"}]),
    ]
    models: Annotated[
        dict[Annotated[str, Meta(pattern=MODEL_NAME)], ModelEntry],
        Meta(
            description="The models, by their Triton names.",
            examples=[
                {
                    "bert": {
                        "source": {"path": "weights/bert"},
                        "export": "trace",
                        "max_batch_size": 32,
                        "inputs": {"input__0": {"dtype": "INT32", "shape": ["batch", 256]}},
                        "outputs": {"output__0": {"dtype": "FP32", "shape": ["batch", 2]}},
                    }
                }
            ],
        ),
    ]
