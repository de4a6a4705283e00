"""OpenVINO's IR for real: canonical bytes of exactly the declared tensors, and operators that the image knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import openvino
import pytest

from pipeline.core import errors, spec
from tests.real import orders

pytestmark = pytest.mark.real

ORDER: dict[str, Any] = {
    "export": spec.Export(method="openvino"),
    "inputs": orders.TOKENS,
    "outputs": {"output__0": orders.answer(["batch", 2], "logits")},
    "axes": {"sequence": spec.Axis(min=1, max=64)},
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One build exported twice: elsewhere, with another HOME and hash seed, by another process."""
    folders = []
    cases: list[tuple[str, dict[str, Any]]] = [("one", {}), ("two/deeper", {"PYTHONHASHSEED": "77", "HOME": "/"})]
    for name, env in cases:
        root = tmp_path_factory.mktemp("bert")
        result = orders.export(orders.order(orders.CONFIG, root, opset=11, **ORDER), root, root / name, **env)
        assert sorted(result.files) == ["model.bin", "model.xml"]
        folders.append(root / name)
    return folders[0], folders[1]


def test_bytes_are_canonical(bert: tuple[Path, Path]) -> None:
    """Another folder, home, hash seed and process give the same two files and golden, byte for byte."""
    for name in ("model.xml", "model.bin", "golden.safetensors"):
        assert (bert[0] / name).read_bytes() == (bert[1] / name).read_bytes()


def test_nothing_but_the_graph_is_kept(bert: tuple[Path, Path]) -> None:
    """The IR is of version 11, has the declared tensors, and says nothing of where and with what it was written."""
    graph = ET.parse(bert[0] / "model.xml").getroot()
    assert (graph.get("version"), graph.find("rt_info")) == ("11", None)
    assert str(bert[0]) not in (bert[0] / "model.xml").read_text()
    model = openvino.Core().read_model(bert[0] / "model.xml")
    found = {each.get_any_name(): str(each.get_partial_shape()) for each in (*model.inputs, *model.outputs)}
    assert found == {"input__0": "[?,?]", "input__1": "[?,?]", "output__0": "[?,2]"}


def test_operators_that_the_image_lacks_are_named(tmp_path: Path) -> None:
    """An operator of a newer set than the image's OpenVINO has is an error that names it, before anything is served."""
    made = orders.order(
        orders.factory(tmp_path, "        return torch.where(torch.isnan(x), 0.0, x)"),
        tmp_path,
        export=spec.Export(method="openvino"),
        opset=8,
    )
    with pytest.raises(
        errors.PipelineError, match=r"has the operators of opset8, and the model needs IsNaN \(opset10\)"
    ):
        orders.export(made, tmp_path, tmp_path / "out")
