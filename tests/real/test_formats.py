"""One word of the spec changes the format: the same goldens, verified on the same real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pipeline.edges import triton
from tests import project
from tests.real import live

pytestmark = pytest.mark.real

FORMATS = {"onnx": ("onnxruntime_onnx", ["model.onnx"]), "openvino": ("openvino", ["model.bin", "model.xml"])}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[project.Project]:
    """The tiny project, served as TorchScript."""
    made = project.make(tmp_path_factory.mktemp("formats") / "project")
    made.good("apply")
    yield made
    made.good("down")


@pytest.mark.parametrize("method", FORMATS)
def test_one_word_changes_the_format(served: project.Project, method: str) -> None:
    """Another export gives the same goldens, with no word that they may change, and every answer is verified; the plan
    says which environment it takes, and a second one has nothing to do.
    """
    platform, files = FORMATS[method]
    before = live.lock(served)["models"]["tiny"]["versions"]
    served.edit("export: trace", f"export: {method}")
    try:
        assert served.good("needs", "apply").split() == ["torch", method]
        served.good("apply")
        after = live.lock(served)["models"]["tiny"]["versions"]
        assert {n: each["golden"] for n, each in after.items()} == {n: each["golden"] for n, each in before.items()}
        assert [sorted(each["files"]) for each in after.values()] == [files, files]
        assert "12 of 12 goldens verified" in served.good("verify")
        config = triton.Client(port=served.ports[0]).config("tiny")
        assert platform in {config["platform"], config["backend"]}
        assert served.good("plan").startswith("No changes.")
    finally:
        served.edit(f"export: {method}", "export: trace")


COMPILED = {
    "export: trace": "export: aoti",
    "max_batch_size: 4": "max_batch_size: 1",
    "23.08-py3": "26.06-py3",
    "left:": "INPUT__0:",
    "right:": "INPUT__1:",
    "answer:": "OUTPUT__0:",
    "      2: {{source: {{factory: {{seed: 1}}}}}}\n": "",
    "[1, 2]": "[1]",
}
"""What a compiled package needs: no batch, tensors by number, a late image."""


def compiled(root: Path) -> project.Project:
    """The tiny model as a compiled package."""
    text = project.SPEC
    for old, new in COMPILED.items():
        assert old in text
        text = text.replace(old, new)
    return msgspec.structs.replace(project.make(root, spec=text), timeout=900.0)


@pytest.mark.full
def test_compiled_package(tmp_path: Path) -> None:
    """A package that NVIDIA's image knows by a platform which the embedded server is too old for is served there by a
    config of its own, with the same digest; the lock says that its bytes are not pinned, and what identifies it.
    """
    made = compiled(tmp_path / "project")
    try:
        made.good("apply")
        assert "2 of 2 goldens verified" in made.good("verify")
        assert made.good("plan").startswith("No changes.")
        folder = made.root / "model_repository" / "tiny"
        own, other = ((folder / name).read_text() for name in ("config.pbtxt", "configs/embedded.pbtxt"))
        assert ('platform: "torch_aoti"' in own, "platform" in other) == (True, False)
        assert str(live.digest(made)) in own
        assert str(live.digest(made)) in other
        version = live.lock(made)["models"]["tiny"]["versions"]["1"]
        assert (version["reproducible"], version["files"]) == (False, {"model.pt2": {"sha256": "", "size": 0}})
    finally:
        made.good("down")


@pytest.mark.full
def test_compiled_package_is_known_by_what_it_was_made_from(tmp_path: Path) -> None:
    """Built elsewhere it has other bytes and the same lock; built again here it goes into the repository anew."""
    one, two = compiled(tmp_path / "one"), compiled(tmp_path / "two" / "deeper")
    (two.root / "pipeline.yaml").write_bytes((one.root / "pipeline.yaml").read_bytes())
    packages = []
    for each in (one, two):
        each.good("export")
        each.good("assemble")
        packages.append((each.root / "model_repository" / "tiny" / "1" / "model.pt2").read_bytes())
    assert packages[0] != packages[1]
    assert (one.root / "pipeline.lock").read_bytes() == (two.root / "pipeline.lock").read_bytes()


KERAS = """\
  forest:
    source: {{factory: {{callable: "forest:build", seed: 3}}}}
    export: savedmodel
    max_batch_size: 4
    inputs:
      left: {{dtype: INT32, shape: [batch, n], argument: first, values: {{high: 9}}}}
      right: {{dtype: FP32, shape: [batch, 3], argument: second}}
    outputs:
      answer: {{dtype: FP32, shape: [batch, 2], result: total}}
      count: {{dtype: INT64, shape: [batch, 1], result: count}}
    axes: {{n: {{min: 1, max: 5}}}}
    config: {{dynamic_batching: {{}}, parameters: {{TF_NUM_INTRA_THREADS: {{string_value: "1"}}}}}}
"""
FOREST = """\
import keras


def build():
    first, second = keras.Input([None], dtype="int32", name="first"), keras.Input([3], name="second")
    found = keras.layers.Embedding(9, 3)(first)
    found = keras.ops.sum(found, axis=1) - second
    count = keras.ops.sum(first, axis=1, keepdims=True)
    return keras.Model({"first": first, "second": second}, {"total": keras.layers.Dense(2)(found), "count": count})
"""


def test_keras_model(tmp_path: Path) -> None:
    """A Keras model of a factory is served as a SavedModel beside a torch one, its tensors by name; a torch module has
    no SavedModel, and is told so.
    """
    made = msgspec.structs.replace(project.make(tmp_path / "project", spec=project.SPEC + KERAS), timeout=900.0)
    (made.root / "forest.py").write_text(FOREST)
    try:
        made.good("apply")
        assert "18 of 18 goldens verified" in made.good("verify")
        assert made.good("plan").startswith("No changes.")
        assert max(live.lock(made)["models"]["forest"]["versions"]["1"]["files"]).startswith("model.savedmodel/")
        made.edit('"forest:build"', '"models:build", options: {scale: 1.0}')
        refused = made.run("export", "--model", "forest")
        assert refused.returncode == 1
        assert "the factory gave a Tiny, not a Keras or TensorFlow model" in refused.stderr
    finally:
        made.good("down")


@pytest.mark.parametrize("method", ["onnx", pytest.param("openvino", marks=pytest.mark.full)])
def test_real_weights_have_the_same_goldens(tmp_path: Path, method: str) -> None:
    """The sample's minilm in another format has the goldens that the committed lock pins, and serves them."""
    spec = project.minilm().replace("export: trace", f"export: {method}")
    made = msgspec.structs.replace(project.make(tmp_path / "project", spec=spec), timeout=900.0)
    try:
        made.good("apply")
        pinned = live.lock(project.Project(root=project.HOME, ports=made.ports))["models"]["minilm"]["versions"]["1"]
        assert live.lock(made)["models"]["minilm"]["versions"]["1"]["golden"] == pinned["golden"]
        assert "6 of 6 goldens verified" in made.good("verify")
    finally:
        made.good("down")
