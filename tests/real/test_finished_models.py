"""Finished files on the real Triton: a Python model with its label file, and an ensemble of it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pipeline.edges import inference
from tests import finished, project

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[project.Project]:
    """The project, applied."""
    found = finished.make(tmp_path_factory.mktemp("finished") / "project")
    said = found.run("apply")
    assert said.returncode == 0, said.stdout + said.stderr
    yield found
    found.good("down")


def ask(made: project.Project, model: str, given: str, wanted: str) -> Any:
    """The answer of a model."""
    rows = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    return inference.infer("http", made.ports[0], model, 1, inputs={given: rows}, outputs=(wanted,))[wanted]


def test_they_serve(made: project.Project) -> None:
    """The model answers through its own files, and the ensemble through the model, whose version is an empty folder."""
    np.testing.assert_array_equal(ask(made, "sums", "values", "sums"), [[6, 6], [15, 15]])
    np.testing.assert_array_equal(ask(made, "chain", "given", "twice"), [[12, 12], [30, 30]])
    assert "No changes." in made.good("plan")


def test_what_is_not_proven_is_said(made: project.Project) -> None:
    """A verification has no golden to ask, warns of each model, and passes; the status calls them healthy."""
    said = made.good("verify")
    assert "0 of 0 goldens verified" in said
    for name, why in (("sums", "it runs in Triton only"), ("chain", "an ensemble has no reference")):
        assert f"model {name}: warning: it is loaded, and was asked nothing: {why}" in said
    rows = json.loads(made.good("status", "--json"))["models"]
    assert [(row["model"], row["health"]) for row in rows] == [("chain", "Healthy"), ("sums", "Healthy")]


def test_labels_are_served(made: project.Project) -> None:
    """The label file that lies beside the config names the classes that clients ask for."""
    rows = {"name": "values", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    outputs = [{"name": "sums", "parameters": {"classification": 1}}]
    request = urllib.request.Request(
        f"http://127.0.0.1:{made.ports[0]}/v2/models/sums/infer",
        data=json.dumps({"inputs": [rows], "outputs": outputs}).encode(),
    )
    with urllib.request.urlopen(request) as answer:
        (output,) = json.load(answer)["outputs"]
    assert output["data"][0].endswith(":left")


def test_a_bad_model_never_gets_live(made: project.Project) -> None:
    """A finished model that does not load is found out apart; the old one serves on, and a rollback is not needed."""
    broken = finished.MODEL.replace("import lengths", "import length")
    (made.root / "adopted/sums/1/model.py").write_text(broken)
    made.edit(finished.sha256(finished.MODEL), finished.sha256(broken))
    said = made.run("apply")
    assert said.returncode == 1, said.stdout
    assert "No module named 'length'" in said.stderr
    np.testing.assert_array_equal(ask(made, "sums", "values", "sums"), [[6, 6], [15, 15]])
    (made.root / "adopted/sums/1/model.py").write_text(finished.MODEL)
    made.edit(finished.sha256(broken), finished.sha256(finished.MODEL))
    assert "No changes." in made.good("plan")
