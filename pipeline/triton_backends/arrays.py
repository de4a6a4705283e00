"""Tensors as numpy arrays that share Triton's memory: for backends whose engine takes arrays by name.

What comes in is taken by DLPack, which copies nothing; Triton's own conversion copies, and is for texts alone. It is
built for numpy 1: under numpy 2 arrays come out wrong, so the environment pins the former.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from pipeline.triton_backends import named, refusals, serving

Run = Callable[[dict[str, Any]], Sequence[Any]]
"""Inputs by name to the outputs, in the order of the config's sorted names. Raises Failed."""


def answer(
    requests: Sequence[Any], inputs: Sequence[named.Tensor], outputs: Sequence[named.Tensor], run: Run
) -> list[Any]:
    """A response for each request, from one run over all of them."""
    given = [{tensor.name(): tensor for tensor in request.inputs()} for request in requests]
    fed = {}
    for tensor in inputs:
        if tensor.optional and tensor.name not in given[0]:
            continue
        fed[tensor.name] = _joined(tensor, [_take(tensor, each) for each in given])
    sizes = [int(next(iter(each.values())).shape()[0]) for each in given] if len(given) > 1 else [1]
    columns = [
        [_give(output, part) for part in serving.split(result, sizes, output.name)]
        for output, result in zip(outputs, run(fed), strict=True)
    ]
    return [pb_utils.InferenceResponse(list(row)) for row in zip(*columns, strict=True)]


def _take(tensor: named.Tensor, given: Mapping[str, Any]) -> Any:
    value = given.get(tensor.name)
    if value is None:
        raise refusals.Failed(pb_utils.TritonError.INVALID_ARG, f"expected input '{tensor.name}' in the request")
    return value.as_numpy() if tensor.dtype == "TYPE_STRING" else np.from_dlpack(value)


def _joined(tensor: named.Tensor, parts: list[Any]) -> Any:
    """The parts of all requests as one array; a single part is passed on as it is."""
    if tensor.ragged:
        parts = [part.reshape(-1) for part in parts]
    if tensor.scalar:
        parts = [part.reshape(()) for part in parts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _give(output: named.Tensor, part: Any) -> Any:
    """A response's tensor. Triton copies it into its shared memory once; nothing is copied here but odd layouts."""
    if output.scalar:
        part = part.reshape(output.dims)
    return pb_utils.Tensor(output.name, np.ascontiguousarray(part))
