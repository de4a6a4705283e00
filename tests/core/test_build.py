"""A build: its canonical text, and its key."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pipeline.core import build, compat, layout, lock, matrix, parse, spec
from pipeline.edges import facts


class Pair(msgspec.Struct):
    zulu: frozenset[str]
    alpha: dict[int, str]


def test_canonical_text_is_sorted_all_through() -> None:
    """Fields, keys and members of sets are sorted, whatever the hash seed: a digest is compared between processes."""
    value = {"b": Pair(zulu=frozenset("hgfedcba"), alpha={2: "x", 10: "y"}), "a": (1, 2.5, None)}
    expected = '{"a":[1,2.5,null],"b":{"alpha":{"10":"y","2":"x"},"zulu":["a","b","c","d","e","f","g","h"]}}'
    assert build.canonical(value) == expected.encode()


HOME = Path(__file__).parents[2]
SAMPLE = parse.parse_spec((HOME / "pipeline.yaml").read_bytes(), file="pipeline.yaml")
LOCKED = lock.parse((HOME / "pipeline.lock").read_bytes(), file="pipeline.lock")
ROWS = matrix.parse(facts.releases())


def builds(image: str = SAMPLE.target.image, export: spec.Export | None = None) -> dict[layout.At, build.Build]:
    """The sample's builds, with minilm exported another way, for an image."""
    resolved = {
        (name, int(number)): each.source
        for name, model in LOCKED.models.items()
        for number, each in model.versions.items()
    }
    models = dict(SAMPLE.models)
    if export is not None:
        version = spec.Version(number=1, source=models["minilm"].versions[1].source, export=export)
        models["minilm"] = msgspec.structs.replace(models["minilm"], versions={1: version})
    declared = msgspec.structs.replace(SAMPLE, models=models)
    toolchains = {"torchscript": LOCKED.toolchain, "onnx": {**LOCKED.toolchain, "onnx": "1"}}
    codes = dict.fromkeys(["trace", "script", "onnx", None], 1)
    makers = layout.Makers(codes=codes, toolchains=toolchains, row=compat.find(image, ROWS))  # type: ignore[arg-type]
    return layout.builds(declared, resolved, makers)


def key(image: str = SAMPLE.target.image, export: spec.Export | None = None) -> str:
    """The key of minilm."""
    return build.key(builds(image, export)["minilm", 1])


def test_keys_of_torchscript_stay() -> None:
    """What other formats have in their keys, TorchScript's have not: the committed lock holds."""
    keys = {at: build.key(each) for at, each in builds().items()}
    assert keys == {
        (name, int(n)): each.key for name, model in LOCKED.models.items() for n, each in model.versions.items()
    }


def test_key_of_onnx_has_opset_and_ir() -> None:
    """An image that loads an older opset has another artifact; one that loads the same has the same."""
    base = key(export=spec.Export(method="onnx"))
    assert base == key(image="nvcr.io/nvidia/tritonserver:26.08-py3", export=spec.Export(method="onnx"))
    others = {
        key(image="nvcr.io/nvidia/tritonserver:22.01-py3", export=spec.Export(method="onnx")),
        key(export=spec.Export(method="onnx", opset=19)),
        key(),
    }
    assert len({base, *others}) == 4
    assert base == key(export=spec.Export(method="onnx", opset=18, timeout=1))
