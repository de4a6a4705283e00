"""The rules of a model's tensors: names, shapes, axes, types, and what the golden questions need of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from pipeline.core import platforms, spec, tree

_INDEXED = re.compile(r".*__([0-9]+)", re.DOTALL)
_FLOATS = frozenset({"FP16", "FP32", "FP64"})


def faults(entry: spec.ModelEntry, platform: platforms.Platform | None, path: tree.Path) -> Iterator[tree.Fault]:
    """What is wrong with the tensors of the model of a platform that stands at `path`; of none, where it is served by
    something that has no rules here."""
    for part, tensors in (("inputs", entry.inputs), ("outputs", entry.outputs)):
        for name, tensor in tensors.items():
            at = (*path, part, name)
            if platform is not None:
                yield from _dtype(tensor.dtype, platform, at)
            yield from _shape(tensor.shape, entry.max_batch_size, at)
    yield from _axes(entry, path, bound=not _is_finished(entry))
    if platform is not None:
        yield from _names(entry, platform, path)
    if platform is not None and platform.positional:
        yield from _input_indices(entry, path)
        yield from _output_indices(entry.outputs, path)
    yield from _arguments(entry.inputs, path)
    yield from _values(entry.inputs, path)
    yield from _results(entry, path)


def _names(entry: spec.ModelEntry, platform: platforms.Platform, path: tree.Path) -> Iterator[tree.Fault]:
    """Some backends find tensors by no other name."""
    sides: tuple[tuple[str, Iterable[str]], ...] = (("inputs", entry.inputs), ("outputs", entry.outputs))
    for (part, tensors), prefix in zip(sides, platform.names or (), strict=False):
        for name in tensors:
            if not re.fullmatch(rf"{prefix}__[0-9]+", name):
                message = f"the {platform.platform} backend knows no tensor `{name[:80]}`"
                hint = f"number the {part}: {prefix}__0, {prefix}__1, ..."
                yield tree.Fault(path=(*path, part, name), rule="tensor-name", message=message, hint=hint, on_key=True)


def _dtype(dtype: str, platform: platforms.Platform, at: tree.Path) -> Iterator[tree.Fault]:
    if dtype in platform.refused:
        message = f"the type {dtype} cannot be served: {platform.refused[dtype]}"
        yield tree.Fault(path=(*at, "dtype"), rule="dtype", message=message)


def _shape(shape: spec.Shape, max_batch_size: int, at: tree.Path) -> Iterator[tree.Fault]:
    """`batch` is the first axis, and only that, where Triton batches; nothing is left to chance otherwise."""
    path = (*at, "shape")
    if max_batch_size and shape[:1] != (spec.BATCH,):
        message = f"the first axis must be `{spec.BATCH}`: max_batch_size is {max_batch_size}"
        hint = f"write [{spec.BATCH}, ...], or set max_batch_size to 0"
        yield tree.Fault(path=path, rule="batch-axis", message=message, hint=hint)
    for index, size in enumerate(shape):
        if size == spec.BATCH and not max_batch_size:
            message = f"`{spec.BATCH}` is Triton's batch axis, but max_batch_size is 0"
            hint = "set max_batch_size, or give the axis another name"
            yield tree.Fault(path=(*path, index), rule="batch-axis", message=message, hint=hint)
        elif size == spec.BATCH and index:
            message = f"`{spec.BATCH}` may only be the first axis"
            yield tree.Fault(path=(*path, index), rule="batch-axis", message=message)
    if not [size for size in shape if size != spec.BATCH]:
        message = "Triton needs at least one axis" + (f" beside `{spec.BATCH}`" if shape else "")
        yield tree.Fault(path=path, rule="rank", message=message, hint="a single value a row is the shape [batch, 1]")


def _is_finished(entry: spec.ModelEntry) -> bool:
    """Whether nothing is exported: an ensemble, or files that are there already."""
    return entry.source == "ensemble" or (entry.source.file is not None and entry.export is None)


def _axes(entry: spec.ModelEntry, path: tree.Path, *, bound: bool) -> Iterator[tree.Fault]:
    """Every named axis of an export is `bound`, since a trace is checked at its bounds; every bound has an axis."""
    used = _used_axes(entry, path)
    for axis, at in used.items():
        if bound and axis != spec.BATCH and axis not in entry.axes:
            message = f"the axis `{axis}` has no bounds: the sizes to check are not known"
            hint = tree.nearest(axis, entry.axes) or f"add `axes: {{{axis}: {{min: 1, max: ...}}}}` to the model"
            yield tree.Fault(path=at, rule="axis-bounds", message=message, hint=hint)
    for axis, bounds in entry.axes.items():
        at = (*path, "axes", axis)
        if axis == spec.BATCH:
            message = f"the bounds of `{spec.BATCH}` are 1 and max_batch_size"
            yield tree.Fault(path=at, rule="axis-bounds", message=message, hint="remove it", on_key=True)
        elif axis not in used:
            hint = tree.nearest(axis, [name for name in used if name != spec.BATCH]) or "remove it"
            message = f"no shape has the axis `{axis}`"
            yield tree.Fault(path=at, rule="axis-unused", message=message, hint=hint, on_key=True)
        if bounds.min > bounds.max:
            message = f"the smallest size {bounds.min} is above the largest, {bounds.max}"
            yield tree.Fault(path=at, rule="axis-bounds", message=message, on_key=True)


def _used_axes(entry: spec.ModelEntry, path: tree.Path) -> dict[str, tree.Path]:
    """Every named axis, with the place where it is named first."""
    used: dict[str, tree.Path] = {}
    for part, tensors in (("inputs", entry.inputs), ("outputs", entry.outputs)):
        for name, tensor in tensors.items():
            for index, size in enumerate(tensor.shape):
                if isinstance(size, str):
                    used.setdefault(size, (*path, part, name, "shape", index))
    return used


def indices(names: Mapping[str, object]) -> dict[str, int] | None:
    """The positions that names of the form `name__N` give; None where some name has no such form."""
    found = {name: match for name in names if (match := _INDEXED.fullmatch(name))}
    if len(found) != len(names):
        return None
    return {name: int(match.group(1)) for name, match in found.items()}


def _input_indices(entry: spec.ModelEntry, path: tree.Path) -> Iterator[tree.Fault]:
    """Names `name__N` are positions: an index that the model does not have crashes NVIDIA's server at a request."""
    positions = indices(entry.inputs)
    seen: dict[int, str] = {}
    for name, index in (positions or {}).items():
        at = (*path, "inputs", name)
        if index >= len(entry.inputs):
            message = f"the index {index} is beyond the model's inputs: expected 0 to {len(entry.inputs) - 1}, no gaps"
            hint = "Triton's C++ server crashes at the first request to such a model"
            yield tree.Fault(path=at, rule="input-index", message=message, hint=hint, on_key=True)
        elif index in seen:
            message = f"the index {index} stands twice: `{seen[index]}` and `{name}`"
            yield tree.Fault(path=at, rule="input-index", message=message, on_key=True)
        seen.setdefault(index, name)


def _output_indices(outputs: Mapping[str, spec.Output], path: tree.Path) -> Iterator[tree.Fault]:
    seen: dict[int, str] = {}
    for name, index in (indices(outputs) or {}).items():
        at = (*path, "outputs", name)
        if index >= len(outputs):
            message = f"the index {index} is beyond the model's outputs: expected 0 to {len(outputs) - 1}"
            yield tree.Fault(path=at, rule="output-index", message=message, on_key=True)
        elif index in seen:
            message = f"the index {index} stands twice: `{seen[index]}` and `{name}`"
            yield tree.Fault(path=at, rule="output-index", message=message, on_key=True)
        seen.setdefault(index, name)


def _arguments(inputs: Mapping[str, spec.Input], path: tree.Path) -> Iterator[tree.Fault]:
    seen: dict[str, str] = {}
    for name, tensor in inputs.items():
        if tensor.argument is None:
            continue
        if tensor.argument in seen:
            message = f"the argument `{tensor.argument[:80]}` is given twice: by `{seen[tensor.argument]}` and `{name}`"
            yield tree.Fault(path=(*path, "inputs", name, "argument"), rule="argument-twice", message=message)
        seen.setdefault(tensor.argument, name)


def _values(inputs: Mapping[str, spec.Input], path: tree.Path) -> Iterator[tree.Fault]:
    for name, tensor in inputs.items():
        if tensor.values is not None and tensor.values.low >= tensor.values.high:
            message = f"no value is at least {tensor.values.low} and below {tensor.values.high}"
            yield tree.Fault(path=(*path, "inputs", name, "values"), rule="values", message=message, on_key=True)


def _results(entry: spec.ModelEntry, path: tree.Path) -> Iterator[tree.Fault]:
    """Pooling needs the mask, and like normalizing it needs floats."""
    arguments = {tensor.argument for tensor in entry.inputs.values()}
    for name, output in entry.outputs.items():
        at = (*path, "outputs", name)
        if output.pool in {"mean", "max"} and "attention_mask" not in arguments:
            message = f"`pool: {output.pool}` needs an input whose argument is attention_mask"
            yield tree.Fault(path=(*at, "pool"), rule="pool", message=message, hint="name one with `argument:`")
        for key, wanted in (("pool", output.pool is not None), ("normalize", output.normalize)):
            if wanted and output.dtype not in _FLOATS:
                message = f"`{key}` needs a floating-point output, this one is {output.dtype}"
                yield tree.Fault(path=(*at, key), rule=key, message=message)
