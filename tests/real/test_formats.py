"""One word of the spec changes the format: the same goldens, verified on the same real server."""

from __future__ import annotations

import json
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


@pytest.mark.full
def test_every_format_at_once(tmp_path: Path) -> None:
    """The same real weights as TorchScript, ONNX, OpenVINO and a compiled package, and a Keras model beside them, on a
    single Triton: every golden over both protocols, and the first three have the same ones.
    """
    text = (project.HOME / "benchmarks/formats.yaml").read_text()
    for word in ("http", "grpc", "metrics"):
        text = text.replace(word.upper(), f"{{{word}}}", 1)
    keras = KERAS.replace("{{", "{").replace("}}", "}")
    made = project.make(tmp_path / "project", spec=_escaped(text) + _escaped(keras))
    made = msgspec.structs.replace(made, timeout=900.0)
    (made.root / "forest.py").write_text(FOREST)
    # No image serves all of these: SavedModel ended before compiled packages began. The embedded server does.
    try:
        made.good("apply")
        assert "26 of 26 goldens verified" in made.good("verify")
        assert made.good("plan").startswith("No changes.")
        locked = live.lock(made)["models"]
        names = ("torchscript", "onnx", "openvino")
        assert len({locked[name]["versions"]["1"]["golden"] for name in names}) == 1
    finally:
        made.good("down")


def _escaped(text: str) -> str:
    """A spec whose braces `make` leaves alone, but for the ports'."""
    braced = text.replace("{", "{{").replace("}", "}}")
    for word in ("http", "grpc", "metrics"):
        braced = braced.replace(f"{{{{{word}}}}}", f"{{{word}}}")
    return braced


ENGINE = """\
  engine:
    source: {factory: {callable: "models:build", options: {scale: 2.5}, seed: 0}}
    export: tensorrt
    max_batch_size: 4
    inputs: {left: {dtype: FP32, shape: [batch, 3]}, right: {dtype: FP32, shape: [batch, 3]}}
    outputs: {answer: {dtype: FP32, shape: [batch, 2]}}
"""
LOWER = [
    ("trace", "fp16"),
    ("trace", "bf16"),
    ("trace", "int8"),
    ("onnx", "fp16"),
    ("onnx", "int8"),
    ("openvino", "fp16"),
]
WIDE = """\
import torch


def build():
    return torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 8))
"""
MODEL = """\
  {name}:
    source: {{{{factory: {{{{callable: "wide:build", seed: 5}}}}}}}}
    export: {export}
    max_batch_size: 4
    inputs: {{{{x: {{{{dtype: FP32, shape: [batch, 64]}}}}}}}}
    outputs: {{{{y: {{{{dtype: FP32, shape: [batch, 8]}}}}}}}}
"""


def test_lower_precision(tmp_path: Path) -> None:
    """The same model in every precision that a format has: one golden, verified within each one's own tolerance, with
    the loss in the report; a tolerance that it cannot keep is an error before anything is served.
    """
    names = {f"{method}_{kind}": f"{{{{method: {method}, precision: {kind}}}}}" for method, kind in LOWER}
    models = "".join(MODEL.format(name=name, export=export) for name, export in {"whole": "trace", **names}.items())
    head = project.SPEC[: project.SPEC.index("models:")]
    made = msgspec.structs.replace(project.make(tmp_path / "project", spec=f"{head}models:\n{models}"), timeout=900.0)
    (made.root / "wide.py").write_text(WIDE)
    try:
        made.good("apply", "--report", "report.json")
        locked = {name: each["versions"]["1"] for name, each in live.lock(made)["models"].items()}
        assert len({each["golden"] for each in locked.values()}) == 1
        size = {name: sum(file["size"] for file in each["files"].values()) for name, each in locked.items()}
        assert all(size[name] < 0.75 * size["whole"] for name in names)
        cases = json.loads((made.root / "report.json").read_text())["cases"]
        assert {case["outcome"] for case in cases} == {"passed"}
        losses = {case["model"]: case["losses"] for case in cases if case["batch"] == 4}
        assert losses.pop("whole") == []
        assert all(0.99 < loss["cosine"] <= 1 and loss["max_abs"] > 0 for found in losses.values() for loss in found)
        made.edit("precision: int8}\n", "precision: int8, tolerance: {rtol: 1e-7, atol: 1e-7}}\n")
        refused = made.run("export", "--model", "trace_int8", "--accept-goldens")
        assert refused.returncode == 0  # a tolerance shapes no byte
        assert made.run("verify", "--model", "trace_int8").returncode == 4
    finally:
        made.good("down")


def test_tensorrt_without_a_gpu(tmp_path: Path) -> None:
    """Where there is no GPU no engine is made: exit 5 with all that is missing, while the other models are built and
    can be served.
    """
    made = project.make(tmp_path / "project")
    made.edit("models:\n", "models:\n" + ENGINE)
    refused = made.run("export", PATH="/nowhere")
    assert refused.returncode == 5, refused.stderr
    assert "a TensorRT engine of engine cannot be made here: there is not an NVIDIA GPU" in refused.stderr
    assert "docker" in refused.stderr
    assert "exporting tiny" in refused.stderr
    try:
        applied = made.run("apply", "--model", "tiny")
        assert applied.returncode == 0, applied.stderr
        assert "exporting" not in applied.stderr
        assert sorted(live.lock(made)["models"]) == ["tiny"]
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
