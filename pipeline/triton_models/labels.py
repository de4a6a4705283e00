"""Logits to labels, for Triton's Python backend. All that it needs but numpy lies beside it.

Made by the pipeline: change `pipeline.yaml` and not this file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent


class Labels:
    """The labels of a classifier, by the positions of their logits."""

    def __init__(self, folder: Path = HERE) -> None:
        self.settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))

    def name(self, logits: Any) -> dict[str, Any]:
        """An array for each output: of each row the label of the largest logit, and its share of the softmax."""
        rows = logits.reshape(-1, logits.shape[-1]).astype(np.float64)
        if rows.shape[1] != len(self.settings["labels"]):
            msg = f"{rows.shape[1]} logits for {len(self.settings['labels'])} labels"
            raise ValueError(msg)
        best = rows.argmax(axis=1)
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        found = {
            "label": np.array([self.settings["labels"][place].encode() for place in best], dtype=np.object_),
            "score": powers[np.arange(len(rows)), best] / powers.sum(axis=1),
        }
        shape = (*logits.shape[:-1], 1)
        return {
            name: found[field].reshape(shape) if field == "label" else found[field].reshape(shape).astype(dtype)
            for name, (field, dtype) in self.settings["outputs"].items()
        }


class TritonPythonModel:
    """What Triton's Python backend runs."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002 - as Triton calls it
        """Reads the labels."""
        self.labels = Labels()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request by itself."""
        import triton_python_backend_utils as pb_utils  # noqa: PLC0415 - there in Triton only

        answers = []
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, self.labels.settings["input"])
            try:
                found = self.labels.name(given.as_numpy())
            except ValueError as error:
                answers.append(pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error))))
                continue
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor(key, found[key]) for key in found]))
        return answers
