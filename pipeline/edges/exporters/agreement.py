"""Whether an artifact's tensors are the declared ones, as the backend that will serve it compares them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.core import build, errors, spec
from pipeline.triton_backends import named, refusals


def check(
    made: build.Build,
    inputs: Mapping[str, named.Found],
    initializers: Mapping[str, named.Found],
    outputs: Mapping[str, named.Found],
    rules: named.Rules,
) -> None:
    """Raises errors.PipelineError where the backend would refuse the artifact, in its words."""
    config = {
        "name": made.model,
        "max_batch_size": made.max_batch_size,
        "input": [_item(name, tensor, made) for name, tensor in made.inputs.items()],
        "output": [_item(name, tensor, made) for name, tensor in made.outputs.items()],
    }
    try:
        named.inputs(config, inputs, initializers, rules)
        named.outputs(config, outputs, rules)
    except refusals.Refused as error:
        msg = f"the artifact is not what the spec declares: {error}"
        raise errors.PipelineError(msg, hint="Correct the declared names, types and shapes.") from error


def _item(name: str, tensor: spec.Input | spec.Output, made: build.Build) -> dict[str, Any]:
    sizes = tensor.shape[1:] if made.max_batch_size else tensor.shape
    dims = [size if isinstance(size, int) else -1 for size in sizes]
    return {"name": name, "data_type": f"TYPE_{tensor.dtype}", "dims": dims}
