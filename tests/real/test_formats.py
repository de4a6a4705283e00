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


@pytest.mark.parametrize("method", FORMATS)
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
