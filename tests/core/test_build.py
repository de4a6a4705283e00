"""A build: its canonical text, and its key."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pipeline.core import build, compat, layout, lock, matrix, parse, spec, writing
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
        models["minilm"] = _exported(export)
    declared = msgspec.structs.replace(SAMPLE, models=models)
    toolchains = {
        "torchscript": LOCKED.toolchain,
        "python": LOCKED.toolchain,
        "torch_aoti": LOCKED.toolchain,
        "onnx": {**LOCKED.toolchain, "onnx": "1"},
    }
    codes = dict.fromkeys(["trace", "script", "onnx", "aoti", "tokenizer", None], 1)
    row = compat.find(image, ROWS)
    wanted = {(name, n): writing.written(each, row) for name, m in models.items() for n, each in m.versions.items()}
    makers = layout.Makers(codes=codes, toolchains=toolchains, written=wanted)  # type: ignore[arg-type]
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


def test_a_licence_shapes_no_byte() -> None:
    """What a source says of its licence is no part of the key."""
    made = builds()["minilm", 1]
    told = msgspec.structs.replace(made.source, licence="mit")
    assert build.key(msgspec.structs.replace(made, source=told, tokenizer=told)) == build.key(made)


def test_what_is_not_reproducible_is_known_by_its_key() -> None:
    """Two builds with other bytes give one lock and one digest; the files that the repository must have are those of
    the store, and without them there is something to build."""
    export = spec.Export(method="aoti")
    made = builds(export=export)
    declared = msgspec.structs.replace(SAMPLE, models={"minilm": _exported(export)})
    at = ("minilm", 1)
    locks, states = [], []
    for letter in "ab":
        files = {"model.pt2": build.File(sha256=letter * 64, size=1)}
        built = build.Built(key=build.key(made[at]), files=files, golden="c" * 64, reproducible=False)
        locks.append(layout.next_lock(declared, {at: made[at]}, {at: built}, image=lock.image(None, "x"), kept={}))
        keys = layout.Keys(versions={at: built.key})
        states.append(layout.state_of(declared, locks[0], keys, None, local={built.key: built}).models["minilm"])
        assert layout.state_of(declared, locks[0], keys, None).models["minilm"].digest is None
    assert locks[0] == locks[1]
    assert states[0].digest == states[1].digest == locks[0].models["minilm"].digest
    assert [each.files["1/model.pt2"] for each in states] == ["a" * 64, "b" * 64]
    assert states[0].files["configs/embedded.pbtxt"] == states[1].files["configs/embedded.pbtxt"]


def _exported(export: spec.Export) -> spec.Model:
    version = msgspec.structs.replace(SAMPLE.models["minilm"].versions[1], export=export)
    return msgspec.structs.replace(SAMPLE.models["minilm"], versions={1: version})
