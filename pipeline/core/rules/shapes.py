"""The rules of what a tensor's config may say beside type and shape, and of the tensors that a backend makes itself.

Each is what Triton's core refuses at load (`ValidateModelIOConfig`), tried on 24.10.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.core import spec, tree
from pipeline.core.rules import subject

_IMAGES = ("FORMAT_NHWC", "FORMAT_NCHW")
_BATCHED = ("TYPE_INT32", "TYPE_FP32")


def faults(model: subject.Subject) -> Iterator[tree.Fault]:
    """What Triton would refuse of the further fields of a model's tensors."""
    entry = model.entry
    for part, tensors in (("inputs", entry.inputs), ("outputs", entry.outputs)):
        for name, tensor in tensors.items():
            if tensor.config:
                yield from _tensor(model, tensor, (*model.path, part, name, "config"))
    for field, targets in (("batch_input", None), ("batch_output", entry.outputs)):
        for index, made in subject.lists(model.config, field):
            yield from _made(model, made, targets, (field, index))


def _tensor(model: subject.Subject, tensor: spec.Input | spec.Output, at: tree.Path) -> Iterator[tree.Fault]:
    said = tensor.config
    dims = dimensions(model.entry, tensor)
    if said.get("format") in _IMAGES and len(dims) != 3:
        message = f"{said['format']} needs a shape of three sizes beside the batch axis, this one has {len(dims)}"
        yield tree.Fault(path=(*at, "format"), rule="tensor-format", message=message)
    for field in ("is_shape_tensor", "is_non_linear_format_io"):
        if said.get(field) and model.backend != "tensorrt":
            message = f"`{field}` is TensorRT's, and the backend is {model.backend}"
            yield tree.Fault(path=(*at, field), rule="tensor-format", message=message, hint="remove it", on_key=True)
    if "reshape" in said and not subject.is_finished(model.entry):
        message = "an export takes and gives the declared shape, so nothing must be reshaped"
        yield tree.Fault(path=(*at, "reshape"), rule="reshape", message=message, hint="remove it", on_key=True)
    elif "reshape" in said:
        yield from _reshape(model, dims, said["reshape"].get("shape", []), (*at, "reshape"))


def dimensions(entry: spec.ModelEntry | spec.Model, tensor: spec.Input | spec.Output) -> list[int]:
    """The sizes of a tensor as Triton's config has them: without the batch axis, -1 for a named one."""
    shape = tensor.shape[1:] if entry.max_batch_size > 0 else tensor.shape
    return [size if isinstance(size, int) else -1 for size in shape]


def _reshape(model: subject.Subject, dims: list[int], shape: list[int], at: tree.Path) -> Iterator[tree.Fault]:
    """As many elements before as after, on each side of every size that may vary."""
    if not shape and not model.entry.max_batch_size:
        message = "an empty shape needs a batch axis: without one the model would get a scalar"
        yield tree.Fault(path=at, rule="reshape", message=message, hint="set max_batch_size, or write [1]")
    elif not all(size >= 1 or size == -1 for size in shape):
        message = "a size is 1 or above, or -1 for any"
        yield tree.Fault(path=(*at, "shape"), rule="reshape", message=message)
    elif _counts(dims) != _counts(shape):
        message = f"the shape {shape} has not as many elements as the tensor's, {dims}"
        yield tree.Fault(path=at, rule="reshape", message=message, hint="both must have the same number of elements")


def _counts(shape: Sequence[int]) -> list[int]:
    """The numbers of elements between the sizes that may vary."""
    groups = itertools.groupby(shape, key=lambda size: size == -1)
    counts = [1]
    for varies, sizes in groups:
        if varies:
            counts += [1] * len(list(sizes))
        else:
            counts[-1] = math.prod(sizes)
    return counts


def _made(model: subject.Subject, made: dict[str, Any], targets: Any, at: tree.Path) -> Iterator[tree.Fault]:  # noqa: ANN401
    """A tensor that the backend makes, or shares out: of one input, known to the model."""
    sources = made.get("source_input", [])
    if len(sources) != 1:
        message = f"expected one input in `source_input`, found {len(sources)}"
        yield model.fault("batch-tensor", message, *at, *(["source_input"] if sources else []))
    for index, name in enumerate(sources):
        if name not in model.entry.inputs:
            message = f"the model has no input `{name[:80]}`"
            hint = tree.nearest(name, model.entry.inputs)
            yield model.fault("batch-tensor", message, *at, "source_input", index, hint=hint)
    if targets is None and made.get("data_type") not in _BATCHED:
        message = f"the type must be {' or '.join(_BATCHED)}"
        yield model.fault("batch-tensor", message, *at, *(["data_type"] if "data_type" in made else []))
    named = made.get("target_name", []) if targets is not None else []
    for index, name in enumerate(named):
        if name not in targets or name in named[:index]:
            known = name in targets
            message = f"`{name[:80]}` stands twice" if known else f"the model has no output `{name[:80]}`"
            hint = "remove it" if known else tree.nearest(name, targets)
            yield model.fault("batch-tensor", message, *at, "target_name", index, hint=hint)
