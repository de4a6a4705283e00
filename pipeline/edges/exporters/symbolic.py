"""What torch.export is given: examples that are not special, and axes that may have any size; and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.core import build, errors, spec
from pipeline.edges.exporters import signature

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[Any]]


def tensors(example: Arrays, made: build.Build) -> tuple[Any, ...]:
    """The example's tensors in the order of forward(): of two rows at least, since a size of 1 is taken for a
    constant."""
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    found = []
    for name, _ in signature.inputs(made):
        array = example[name]
        single = made.max_batch_size and array.shape[0] == 1
        found.append(torch.from_numpy(np.concatenate([array, array]) if single else array))
    return tuple(found)


def shapes(made: build.Build) -> tuple[dict[int, Any], ...]:
    """Of each input, in the order of forward(), the axes that may have any size within their bounds."""
    return tuple(_axes(made.inputs[name], made) for name, _ in signature.inputs(made))


def _axes(tensor: spec.Input, made: build.Build) -> dict[int, Any]:
    import torch  # noqa: PLC0415

    found: dict[int, Any] = {}
    for place, size in enumerate(tensor.shape):
        if isinstance(size, str):
            bounds = made.axes.get(size)
            found[place] = (
                torch.export.Dim.DYNAMIC(min=bounds.min, max=bounds.max)
                if bounds and bounds.min < bounds.max
                else torch.export.Dim.DYNAMIC
            )
    return found


def refused(error: Exception) -> errors.PipelineError:
    """The error with torch.export's own words, wherever they stand in the chain."""
    told = [line for each in (error.__cause__, error) for line in str(each or "").splitlines() if line.strip()]
    msg = f"torch.export cannot export the model: {(told or [type(error).__name__])[0]}"
    hint = "Change the model's code so that it depends on shapes and values as torch.export allows, or `export: trace`."
    return errors.PipelineError(msg, hint=hint, details=told[1:16])
