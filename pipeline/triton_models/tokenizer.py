"""Texts to tokens, for Triton's Python backend. All that it needs but numpy lies beside it.

Made by the pipeline: change `pipeline.yaml` and not this file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent


class Encoder:
    """The source's tokenizer, with the sizes that the spec declares."""

    def __init__(self, folder: Path = HERE) -> None:
        if str(folder) not in sys.path:  # the library beside this file, where the environment has none
            sys.path.append(str(folder))
        import tokenizers  # noqa: PLC0415

        self.settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self.encoder = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.encoder.no_padding()
        self.encoder.no_truncation()
        most = self.settings["most"]
        if most is not None:
            if most <= self.encoder.num_special_tokens_to_add(is_pair=False):
                self.encoder.post_processor = tokenizers.processors.Sequence([])
            self.encoder.enable_truncation(most)

    def encode(self, texts: list[str]) -> dict[str, Any]:
        """An array for each output: a row a text, padded to the longest of them."""
        rows = self.encoder.encode_batch(texts)
        size = max([self.settings["least"], *(len(row.ids) for row in rows)])
        for row in rows:
            row.pad(size, pad_id=self.settings["pad"]["id"], pad_token=self.settings["pad"]["token"])
        fields = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        return {
            name: np.array([getattr(row, fields[field]) for row in rows], dtype=dtype).reshape(len(rows), size)
            for name, (field, dtype) in self.settings["outputs"].items()
        }


class TritonPythonModel:
    """What Triton's Python backend runs."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002 - as Triton calls it
        """Reads the tokenizer."""
        self.encoder = Encoder()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request by itself: texts of one request are padded together."""
        import triton_python_backend_utils as pb_utils  # noqa: PLC0415 - there in Triton only

        name = self.encoder.settings["input"]
        answers = []
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            try:
                found = self.encoder.encode([text.decode("utf-8") for text in given.ravel()])
            except UnicodeDecodeError as error:
                answers.append(pb_utils.InferenceResponse(error=pb_utils.TritonError(f"{name} is not UTF-8: {error}")))
                continue
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor(key, found[key]) for key in found]))
        return answers
