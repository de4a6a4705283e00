"""The rules of warm-up samples: each must be a request that the model takes, else the load fails.

Tried on Triton 24.10, which makes `batch_size` requests of one row each out of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.core import spec, tree
from pipeline.core.rules import subject

_DATA = ("zero_data", "random_data", "input_data_file")


def faults(model: subject.Subject) -> Iterator[tree.Fault]:
    """What would make a load fail."""
    if model.entry.warmup is not None:
        yield from _typed(model, model.entry.warmup)
    for index, sample in subject.lists(model.config, "model_warmup"):
        at = ("model_warmup", index)
        yield from _batch(model, sample, at)
        inputs: dict[str, dict[str, Any]] = sample.get("inputs", {})
        for name, given in inputs.items():
            where = (*at, "inputs", name)
            if not any(data in given for data in _DATA):
                message = f"`{name[:80]}` gets nothing: expected one of {', '.join(f'`{data}`' for data in _DATA)}"
                yield model.fault("warmup-data", message, *where, on_key=True)
            if name in model.entry.inputs:
                yield from _tensor(model, given, name, where)
            elif name not in _controls(model):
                hint = tree.nearest(name, model.entry.inputs)
                message = f"the model has no input `{name[:80]}`"
                yield model.fault("warmup-input", message, *where, hint=hint, on_key=True)
        yield from _missing(model, inputs, at)


def _typed(model: subject.Subject, wanted: spec.Warmup | str) -> Iterator[tree.Fault]:
    """A warm-up whose samples the pipeline makes: it must be able to."""
    at = (*model.path, "warmup")
    data = wanted if isinstance(wanted, str) else wanted.data
    if "sequence_batching" in model.config:
        message = "a sequence's requests have control inputs, which the samples would lack"
        hint = "write config.model_warmup, with a sample for each request of a sequence"
        yield tree.Fault(path=at, rule="warmup-sequence", message=message, hint=hint)
    if data == "goldens" and model.entry.golden.none is not None:
        message = "there are no goldens to warm up with"
        yield tree.Fault(path=at, rule="warmup-goldens", message=message, hint="take `zeros` or `random`")
    for name, tensor in model.entry.inputs.items():
        if data == "goldens" and tensor.dtype == "STRING":
            message = f"`{name[:80]}` is text, of which no row can be taken"
            yield tree.Fault(path=at, rule="warmup-goldens", message=message, hint="take `zeros`")
        axes = [size for size in tensor.shape if isinstance(size, str) and size != spec.BATCH]
        free = [axis for axis in axes if axis not in model.entry.axes]
        if data != "goldens" and free:
            message = f"`{name[:80]}` may have any size along `{free[0]}`, so nobody can say how large a sample is"
            yield tree.Fault(path=at, rule="warmup-size", message=message, hint=f"give `{free[0]}` bounds in `axes`")
    sizes = wanted.batches or () if isinstance(wanted, spec.Warmup) else ()
    most = max(model.entry.max_batch_size, 1)
    for index, size in enumerate(sizes):
        if isinstance(size, int) and size > most:
            message = f"the batch {size} is above {most}, the most that the model takes"
            yield tree.Fault(path=(*at, "batches", index), rule="warmup-batch", message=message)


def _controls(model: subject.Subject) -> set[str]:
    sequences = model.config.get("sequence_batching", {})
    return {control.get("name", "") for _, control in subject.lists(sequences, "control_input")}


def _batch(model: subject.Subject, sample: dict[str, Any], at: tree.Path) -> Iterator[tree.Fault]:
    size, most = sample.get("batch_size", 0), max(model.entry.max_batch_size, 1)
    if size > most:
        message = f"the batch {size} is above {most}, the most that the model takes"
        yield model.fault("warmup-batch", message, *at, "batch_size", hint=f"write at most {most}")


def _missing(model: subject.Subject, inputs: dict[str, Any], at: tree.Path) -> Iterator[tree.Fault]:
    needed = [name for name, tensor in model.entry.inputs.items() if not tensor.config.get("optional")]
    missing = [name for name in needed if name not in inputs]
    if missing:
        message = f"the sample lacks the input{'s' * (len(missing) > 1)} {', '.join(f'`{n[:80]}`' for n in missing)}"
        yield model.fault("warmup-input", message, *at, hint="give every input of the model")


def _tensor(model: subject.Subject, given: dict[str, Any], name: str, at: tree.Path) -> Iterator[tree.Fault]:
    """The type is the input's, and the shape is one that the input takes, without the batch axis."""
    tensor = model.entry.inputs[name]
    if given.get("data_type", "TYPE_INVALID") != f"TYPE_{tensor.dtype}":
        message = f"`{name[:80]}` is TYPE_{tensor.dtype}, and {given.get('data_type', 'no type')} is given"
        yield model.fault("warmup-input", message, *at, *(["data_type"] if "data_type" in given else []))
    wanted = tensor.shape[1:] if model.entry.max_batch_size else tensor.shape
    dims = given.get("dims", [])
    if len(dims) != len(wanted) or not all(map(_fits(model.entry), dims, wanted)):
        shown = ", ".join(map(str, wanted))
        message = f"the shape {dims} is none that `{name[:80]}` takes: [{shown}]"
        hint = "give every size, without the batch axis"
        yield model.fault("warmup-input", message, *at, *(["dims"] if "dims" in given else []), hint=hint)


def _fits(entry: spec.ModelEntry) -> Any:  # noqa: ANN401 - a function of two sizes
    """Whether a size is the declared one, or within the bounds of the declared axis."""

    def fits(size: int, declared: int | str) -> bool:
        if isinstance(declared, int):
            return size == declared
        bounds = entry.axes.get(declared)
        return size >= 1 if bounds is None else bounds.min <= size <= bounds.max

    return fits
