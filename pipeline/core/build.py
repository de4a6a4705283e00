"""A build: everything that shapes an artifact's bytes, its key, and what came out of it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from pipeline.core import spec


class Resolved(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A source pinned down.

    `identity` is what the lock records of it, JSON values only and no path of this machine: for `config` the
    architecture, options and seed; for `wheel` name, version, sha256 and path; for `hub` repo and the full commit.
    `files` maps the relative paths of every file that the source reads to their sha256 (empty where `identity`
    pins the bytes already). `licence` is what the source says of it, where it says so when it is resolved; it is part
    of no key.
    """

    kind: str
    identity: dict[str, Any]
    files: dict[str, str] = {}
    licence: str = ""


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """What a TensorRT engine is made for: TensorRT's version in the image, and the GPU's compute capability, empty
    where there is none. `image` is where it is made, and no part of the key: its TensorRT is."""

    tensorrt: str
    capability: str
    image: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of an ensemble: the build of the version that it runs, and which of the ensemble's tensors are that one's
    inputs and outputs, by its own names."""

    build: Build
    inputs: dict[str, str]
    outputs: dict[str, str]


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """One artifact to build: plain data, sent to the export process as JSON.

    `batches` are the golden batch sizes. `tokenizer` is the resolved source that has the tokenizer of the golden
    texts. `toolchain` maps `python` and the libraries that shape the bytes to their versions. `opset` and `ir` are
    ONNX's, as the image was found to load them, or `opset` the newest operators that its OpenVINO has, where known.
    `steps` are an ensemble's, each after those that it reads from: no artifact is made of them, but goldens are.
    """

    model: str
    version: int
    source: Resolved
    export: spec.Export | None
    max_batch_size: int
    inputs: dict[str, spec.Input]
    outputs: dict[str, spec.Output]
    axes: dict[str, spec.Axis]
    golden: spec.Golden
    batches: tuple[int, ...]
    tokenizer: Resolved | None
    toolchain: dict[str, str]
    exporter: int
    opset: int | None = None
    ir: int | None = None
    engine: Engine | None = None
    steps: tuple[Step, ...] = ()


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """The files beside a model's config, to be put into the store: `files` has the sha256 of each declared one.

    `golden` is the key of the build whose goldens a warm-up takes its rows from, `rows` maps its inputs to the files
    that they become; where goldens are not `batched` the whole tensor is a row. `sources` are the declared files'
    paths: where they lie shapes no byte.
    """

    model: str
    files: dict[str, str]
    sources: dict[str, str]
    golden: str | None = None
    rows: dict[str, str] = {}
    batched: bool = True


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a store entry: its digest and its size in bytes."""

    sha256: str
    size: int


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What the store holds under a key: the manifest.

    `files` maps names (`model.pt`) to digests and sizes, `golden` is the sha256 of `golden.safetensors`.
    `reproducible` is False for a format whose bytes differ from build to build. `checks` says what was compared with
    the eager model: one line each, such as `batch 32: max abs error 2.4e-07`. `rows` has the shapes of the rows of
    goldens that files beside a config hold.
    """

    key: str
    files: dict[str, File]
    golden: str
    reproducible: bool = True
    checks: tuple[str, ...] = ()
    rows: dict[str, tuple[int, ...]] = {}


def canonical(value: object) -> bytes:
    """Canonical JSON: sorted keys and sets, no blanks, UTF-8. Equal data gives equal bytes in any process and hash
    seed."""
    plain = msgspec.to_builtins(value, str_keys=True, order="deterministic")
    return msgspec.json.encode(plain, order="deterministic")


def digest(value: object) -> str:
    """The sha256 of the canonical JSON of `value`, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def key(build: Build) -> str:
    """The build key: equal keys mean equal bytes.

    Model name and version number stay out, so that equal builds are made once, and so do the tolerances, the
    timeout and prose: they shape no byte.
    """
    shaping = msgspec.to_builtins(build)
    for source in (shaping["source"], shaping["tokenizer"] or {}):
        source.pop("licence", None)
    for name in ("model", "version", "steps"):
        del shaping[name]
    if build.steps:
        shaping["steps"] = [[key(step.build), step.inputs, step.outputs] for step in build.steps]
    shaping["golden"] = {"texts": build.golden.texts, "seed": build.golden.seed}
    shaping["export"] = build.export.method if build.export else None
    if build.export and build.export.precision != "fp32":
        shaping["export"] = {"method": build.export.method, "precision": build.export.precision}
    for name in ("opset", "ir", "engine"):  # what a format has not, its key does not name
        if shaping[name] is None:
            del shaping[name]
    if build.engine is not None:
        del shaping["engine"]["image"]
    for output in shaping["outputs"].values():
        output.pop("tolerance", None)
        output.pop("finite", None)
    for tensor in (*shaping["inputs"].values(), *shaping["outputs"].values()):
        tensor.pop("config", None)
    return digest(shaping)


def key_beside(beside: Beside) -> str:
    """The key of the files beside a config: equal keys mean equal bytes, whatever the model."""
    plain = msgspec.to_builtins(beside)
    return digest({"beside": {name: plain[name] for name in ("files", "golden", "rows", "batched")}})


def is_copied(build: Build) -> bool:
    """Whether nothing is made: the files are taken as they are, and nobody can be asked for goldens."""
    return build.export is None and build.golden.none is not None
