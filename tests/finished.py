"""A project of finished files alone: a Python model, a folder of another format, files beside configs, an ensemble."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests import project

MODEL = """\
import numpy as np
import triton_python_backend_utils as pb_utils

import lengths


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            values = pb_utils.get_input_tensor_by_name(request, "values").as_numpy()
            made = pb_utils.Tensor("sums", np.ascontiguousarray(lengths.total(values)))
            answers.append(pb_utils.InferenceResponse([made]))
        return answers
"""
MORE = "def total(values):\n    return values.sum(axis=1, keepdims=True).repeat(2, axis=1)\n"

SPEC = """\
version: 1
target:
  image: nvcr.io/nvidia/tritonserver:24.10-py3
  ports: {{http: {http}, grpc: {grpc}, metrics: {metrics}}}
  ready_timeout: 60
models:
  sums:
    source:
      file: {{path: adopted/sums/1, files: {{model.py: MODEL, lengths.py: MORE}}}}
    max_batch_size: 8
    inputs: {{values: {{dtype: FP32, shape: [batch, any]}}}}
    outputs: {{sums: {{dtype: FP32, shape: [batch, 2], config: {{label_filename: labels.txt}}}}}}
    golden: {{none: it runs in Triton only}}
    files: {{labels.txt: adopted/sums/labels.txt}}
    config: {{backend: python}}
  chain:
    source: ensemble
    max_batch_size: 8
    inputs: {{given: {{dtype: FP32, shape: [batch, any]}}}}
    outputs: {{twice: {{dtype: FP32, shape: [batch, 2]}}}}
    golden: {{none: an ensemble has no reference}}
    config:
      ensemble_scheduling:
        step:
          - {{model_name: sums, model_version: -1, input_map: {{values: given}}, output_map: {{sums: once}}}}
          - {{model_name: sums, model_version: -1, input_map: {{values: once}}, output_map: {{sums: twice}}}}
"""


def sha256(text: str) -> str:
    """The digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def make(root: Path, spec: str = SPEC) -> project.Project:
    """The project, with its adopted files."""
    folder = root / "adopted/sums"
    (folder / "1").mkdir(parents=True)
    (folder / "1/model.py").write_text(MODEL)
    (folder / "1/lengths.py").write_text(MORE)
    (folder / "labels.txt").write_text("left\nright\n")
    spec = spec.replace(": MODEL", f": {sha256(MODEL)}").replace(": MORE", f": {sha256(MORE)}")
    return project.make(root, spec)
