"""The interface that Triton's Python backend asks for, with what all our backends do alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from pipeline.triton_backends import refusals


class Model:
    """One instance of a model. A backend says how it is loaded, and how a group of requests is answered by one run."""

    batched: bool

    def load(self, config: dict[str, Any], args: dict[str, str]) -> None:
        """Loads the version's file. Raises Refused."""
        raise NotImplementedError

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        """A response for each request, from one run. Raises Failed for all of them."""
        raise NotImplementedError

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the model. A refusal's class says its status."""
        config = json.loads(args["model_config"])
        self.batched = config.get("max_batch_size", 0) > 0
        try:
            self.load(config, args)
        except refusals.Refused as refused:
            # Triton shows the class's name before the text: so the line reads as the C++ backend's does.
            raise type(refused.status, (Exception,), {})(str(refused)) from None

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers a batch of requests by one run; without a batch axis each request has its own."""
        groups = [requests] if self.batched else [[request] for request in requests]
        answers: list[Any] = []
        for group in groups:
            try:
                answers += self.answer(group)
            except refusals.Failed as failed:
                error = pb_utils.TritonError(str(failed), failed.code)
                answers += [pb_utils.InferenceResponse(error=error) for _ in group]
        return answers


def file(config: dict[str, Any], default: str) -> Path:
    """The version's file: the one that the config names, or the backend's own."""
    return Path(pb_utils.get_model_dir(), config.get("default_model_filename") or default)


def split(result: Any, sizes: Sequence[int], name: str) -> list[Any]:
    """The rows of a result, numpy's or torch's, that belong to each request. Raises Failed where they do not add up."""
    if len(sizes) == 1:
        return [result]
    rows = result.shape[0] if len(result.shape) else 0
    if rows != sum(sizes):
        text = f"output '{name}' has {rows} rows for a batch of {sum(sizes)}"
        raise refusals.Failed(pb_utils.TritonError.INTERNAL, text)
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return [result[end - size : end] for end, size in zip(ends, sizes, strict=True)]
