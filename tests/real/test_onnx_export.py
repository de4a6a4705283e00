"""ONNX for real: canonical bytes of exactly the declared tensors, run by ONNX Runtime against the eager model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pipeline.core import errors, spec
from pipeline.edges.exporters import onnx as exporter
from tests.real import orders

pytestmark = pytest.mark.real

ONNX = spec.Export(method="onnx")
LATEST: dict[str, Any] = {"export": ONNX, "opset": 18, "ir": 8}
NAMES = {"in/put:0": orders.tensor(["batch", "sequence"], "input_ids"),
         "add_1": orders.tensor(["batch", "sequence"], "attention_mask")}  # fmt: skip
BERT: dict[str, Any] = {
    "inputs": NAMES,
    "outputs": {"output__1": orders.answer(["batch", 2], "logits")},
    "axes": {"sequence": spec.Axis(min=1, max=64)},
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One build exported twice: elsewhere, with another HOME and hash seed, by another process."""
    folders = []
    cases: list[tuple[str, dict[str, Any]]] = [("one", {}), ("two/deeper", {"PYTHONHASHSEED": "77", "HOME": "/"})]
    for name, env in cases:
        root = tmp_path_factory.mktemp("bert")
        result = orders.export(orders.order(orders.CONFIG, root, **BERT, **LATEST), root, root / name, **env)
        assert [check.partition(":")[0] for check in result.checks] == [
            "batch 1", "batch 2", "batch 4", "sequence 1", "sequence 64",
        ]  # fmt: skip
        folders.append(root / name)
    return folders[0], folders[1]


def test_bytes_are_canonical(bert: tuple[Path, Path]) -> None:
    """Another folder, home, hash seed and process give the same artifact and golden, byte for byte."""
    for name in ("model.onnx", "golden.safetensors"):
        assert (bert[0] / name).read_bytes() == (bert[1] / name).read_bytes()


def test_nothing_but_the_graph_is_kept(bert: tuple[Path, Path]) -> None:
    """No path, stack trace or name of the exporter's own is in the file; opset and IR version are the build's."""
    body = (bert[0] / "model.onnx").read_bytes()
    model = onnx.load(bert[0] / "model.onnx")
    assert (model.ir_version, [(each.domain, each.version) for each in model.opset_import]) == (8, [("", 18)])
    assert not [word for word in (b"site-packages", b".py", str(bert[0]).encode(), b"+cpu") if word in body]
    assert not [node for node in model.graph.node if node.metadata_props or node.doc_string]


def test_graph_has_the_declared_tensors(bert: tuple[Path, Path]) -> None:
    """Inputs and outputs have the declared names, types and sizes, and no others, whatever the names look like."""
    session = onnxruntime.InferenceSession(bert[0] / "model.onnx")
    found = {each.name: (each.type, each.shape) for each in (*session.get_inputs(), *session.get_outputs())}
    assert found == {
        "in/put:0": ("tensor(int32)", ["batch", "sequence"]),
        "add_1": ("tensor(int32)", ["batch", "sequence"]),
        "output__1": ("tensor(float)", ["batch", 2]),
    }


def test_an_old_image_gets_an_old_opset(tmp_path: Path) -> None:
    """Opset 15 and IR 8, which ONNX Runtime 1.10 loads, come out as asked for and agree with the eager model; and with
    max_batch_size 1 the batch axis has no fixed size all the same, as NVIDIA's backend wants it.
    """
    source = orders.factory(tmp_path, "        return torch.nn.functional.gelu(x) / x.shape[0]")
    made = orders.order(source, tmp_path, export=ONNX, opset=15, ir=8, max_batch_size=1, batches=(1,))
    orders.export(made, tmp_path, tmp_path / "out")
    model = onnx.load(tmp_path / "out" / "model.onnx")
    assert (model.ir_version, model.opset_import[0].version) == (8, 15)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert [each.shape for each in (*session.get_inputs(), *session.get_outputs())] == [["batch", 4], ["batch", 4]]


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a size that is baked in": ("        return x * torch.ones(len(x.tolist()), 4)", {}, "cannot export the model: "),
    "a branch on values": ("        return x if bool(x.sum() > 0) else -x", {}, "cannot export the model: "),
    "an axis that has one size": (
        "        return x[:, :3]",
        {"outputs": {"y": orders.answer(["batch", "n"])}, "axes": {"n": spec.Axis(min=3, max=5)}},
        r"tensor 'y': the model expects 2 dimensions \(shape \[-1,3\]\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_told(tmp_path: Path, case: str) -> None:
    """What torch.export or NVIDIA's backend would refuse is an error with the reason and what to do."""
    body, more, words = REFUSED[case]
    made = orders.order(orders.factory(tmp_path, body), tmp_path, **{**LATEST, **more})
    with pytest.raises(errors.PipelineError, match=words) as caught:
        orders.export(made, tmp_path, tmp_path / "out")
    assert caught.value.hint


def test_weights_beyond_protobufs_limit_lie_beside_the_graph(tmp_path: Path) -> None:
    """More weights than one file may hold go to a second one, in the same bytes each time, and both are loaded."""
    made = orders.order(orders.factory(tmp_path, "        return x"), tmp_path, **LATEST)
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 4096)
    layer = torch.nn.Sequential(layer, torch.nn.Linear(4096, 4))
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        model = exporter.graph(layer, {"x": np.ones((2, 4), np.float32)}, made, opset=18, ir=8)
        exporter.write(model, tmp_path / name, largest=1000)
        found.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())})
    assert found[0] == found[1]
    assert list(found[0]) == ["model.onnx", "model.onnx.data"]
    assert len(found[0]["model.onnx"]) < 4096 < len(found[0]["model.onnx.data"])
    given = np.arange(12, dtype=np.float32).reshape(3, 4)
    with torch.no_grad():
        expected = layer(torch.from_numpy(given)).numpy()
    got = exporter.load(tmp_path / "one" / "model.onnx", made)({"x": given})
    np.testing.assert_allclose(got["y"], expected, rtol=1e-5)


def test_a_finished_model_is_adopted(tmp_path: Path) -> None:
    """An ONNX file is taken as it is, its goldens its own answers; other tensors are refused in Triton's words."""
    made = orders.order(orders.factory(tmp_path, "        return x * 2"), tmp_path, **LATEST)
    result = orders.export(made, tmp_path, tmp_path / "out")
    (tmp_path / "mine.onnx").write_bytes((tmp_path / "out" / "model.onnx").read_bytes())
    digest = result.files["model.onnx"].sha256
    source = spec.Source(file=spec.FileSource(path="mine.onnx", sha256=digest))
    adopted = orders.export(orders.order(source, tmp_path, export=None), tmp_path, tmp_path / "adopted")
    assert (adopted.files["model.onnx"].sha256, adopted.golden) == (digest, result.golden)
    other = orders.order(source, tmp_path, export=None, outputs={"z": orders.answer(["batch", 4])})
    with pytest.raises(errors.PipelineError, match="unexpected inference output 'z', allowed outputs are: y"):
        orders.export(other, tmp_path, tmp_path / "other")
