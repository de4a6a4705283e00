"""The rules of ensembles: their steps run models of the spec, every tensor comes from one place and goes somewhere.

What Triton's core refuses at load (`ValidateEnsembleSchedulingConfig`), and what it would miss at the first request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.core import tree
from pipeline.core.rules import subject

_FIELD = "ensemble_scheduling"
_REFUSED = ("instance_group", "optimization", "model_warmup")


def faults(model: subject.Subject) -> Iterator[tree.Fault]:
    """What is wrong with an ensemble, or with a model that has an ensemble's fields."""
    if model.entry.source != "ensemble":
        if _FIELD in model.config:
            message = f"`{_FIELD}` is an ensemble's, and this model has a source"
            yield model.fault("ensemble-fields", message, _FIELD, hint="write `source: ensemble`", on_key=True)
        return
    for field in _REFUSED:
        if field in model.config:
            message = f"Triton refuses `{field}` for an ensemble: its models have their own"
            yield model.fault("ensemble-fields", message, field, hint="remove it", on_key=True)
    if model.entry.warmup is not None:
        message = "an ensemble cannot be warmed up: its models can"
        where = (*model.path, "warmup")
        yield tree.Fault(path=where, rule="ensemble-fields", message=message, hint="remove it", on_key=True)
    steps = list(subject.lists(model.config.get(_FIELD, {}), "step"))
    if not steps:
        message = "an ensemble needs steps"
        yield tree.Fault(
            path=model.path, rule="ensemble-step", message=message, hint=f"write config.{_FIELD}.step", on_key=True
        )
        return
    for index, step in steps:
        yield from _step(model, step, index)
    yield from _flow(model, steps)
    yield from _edges(model, steps)


def _step(model: subject.Subject, step: dict[str, Any], index: int) -> Iterator[tree.Fault]:
    """A step runs a version of a model of the spec, and maps tensors that it has."""
    at = (_FIELD, "step", index)
    name = step.get("model_name", "")
    other = model.models.get(name)
    if other is None and name in model.unread:
        return
    if other is None or name == model.name:
        message = f"there is no other model `{name[:80]}` in the spec"
        hint = tree.nearest(name, [each for each in model.models if each != model.name])
        yield model.fault("ensemble-step", message, *at, *(["model_name"] if name else []), hint=hint)
        return
    version = step.get("model_version", 0)
    if version > 0 and str(version) not in other.versions:
        message = f"`{name}` has no version {version}: it has {', '.join(other.versions)}"
        yield model.fault("ensemble-step", message, *at, "model_version", hint="-1 is the newest")
    for key, tensors in (("input_map", other.inputs), ("output_map", other.outputs)):
        given = step.get(key, {})
        for tensor in given:
            if tensor not in tensors:
                message = f"`{name}` has no {key.partition('_')[0]} `{tensor[:80]}`"
                hint = tree.nearest(tensor, tensors)
                yield model.fault("ensemble-step", message, *at, key, tensor, hint=hint, on_key=True)
        if not given:
            yield model.fault("ensemble-step", f"the step maps nothing in `{key}`", *at, hint=f"write `{key}`")
    if other.max_batch_size < model.entry.max_batch_size:
        message = (
            f"`{name}` takes batches up to {other.max_batch_size}, the ensemble up to {model.entry.max_batch_size}"
        )
        yield model.fault("ensemble-step", message, *at, "model_name", hint="lower the ensemble's max_batch_size")
    needed = [each for each, tensor in other.inputs.items() if not tensor.config.get("optional")]
    missing = [each for each in needed if each not in step.get("input_map", {})]
    if missing and step.get("input_map"):
        message = f"`{name}` gets no {', '.join(f'`{each}`' for each in missing)}"
        yield model.fault("ensemble-step", message, *at, "input_map", hint="map every input of the model", on_key=True)


def _flow(model: subject.Subject, steps: list[tuple[int, dict[str, Any]]]) -> Iterator[tree.Fault]:
    """Every tensor is made once, before it is read, and is read or given out."""
    made: dict[str, int] = {}
    for index, step in steps:
        for inner, tensor in step.get("output_map", {}).items():
            if tensor in made or tensor in model.entry.inputs:
                message = f"`{tensor[:80]}` is made twice"
                where = (_FIELD, "step", index, "output_map", inner)
                yield model.fault("ensemble-tensor", message, *where, hint="choose another name")
            made.setdefault(tensor, index)
    ready = set(model.entry.inputs)
    waiting = dict(steps)
    while done := [n for n, step in waiting.items() if set(step.get("input_map", {}).values()) <= ready]:
        for index in done:
            ready |= set(waiting.pop(index).get("output_map", {}).values())
    for index, step in waiting.items():
        lacking = sorted(set(step.get("input_map", {}).values()) - ready)
        never = [each for each in lacking if each not in made]
        named = ", ".join(f"`{each[:80]}`" for each in never or lacking)
        message = f"nothing makes {named}" if never else f"it waits for {named}, which waits for it"
        yield model.fault("ensemble-tensor", message, _FIELD, "step", index, "input_map")
    read = {tensor for _, step in steps for tensor in step.get("input_map", {}).values()}
    yield from _ends(model, made, read)


def _edges(model: subject.Subject, steps: list[tuple[int, dict[str, Any]]]) -> Iterator[tree.Fault]:
    """Each tensor has one type and one shape, wherever it is made, read or given out."""
    entry = model.entry
    known = {name: (f"the ensemble's `{name}`", tensor.dtype, tensor.shape) for name, tensor in entry.inputs.items()}
    for index, step in steps:
        for key, part in (("output_map", "outputs"), ("input_map", "inputs")):
            other = model.models.get(step.get("model_name", ""))
            tensors = getattr(other, part) if other else {}
            for inner, outer in step.get(key, {}).items():
                if other is None or inner not in tensors:
                    continue
                what = (f"`{inner}` of `{step['model_name']}`", tensors[inner].dtype, tensors[inner].shape)
                if why := _differ(known.setdefault(outer, what), what):
                    where = (_FIELD, "step", index, key, inner)
                    yield model.fault("ensemble-tensor", f"`{outer[:80]}`: {why}", *where)
    for name, tensor in entry.outputs.items():
        what = (f"the ensemble's `{name}`", tensor.dtype, tensor.shape)
        if why := _differ(known.get(name, what), what):
            path = (*model.path, "outputs", name)
            yield tree.Fault(path=path, rule="ensemble-tensor", message=why, on_key=True)


def _differ(first: tuple[str, str, tuple[int | str, ...]], second: tuple[str, str, tuple[int | str, ...]]) -> str:
    """How two sides of one tensor differ; empty where they do not. A named axis fits any size, and so does
    the batch."""
    if first[1] != second[1]:
        return f"{first[0]} is {first[1]}, {second[0]} is {second[1]}"
    sizes = zip(first[2], second[2], strict=False)
    fits = all(one == other or isinstance(one, str) or isinstance(other, str) for one, other in sizes)
    if len(first[2]) != len(second[2]) or not fits:
        shapes = [", ".join(map(str, side[2])) for side in (first, second)]
        return f"{first[0]} has the shape [{shapes[0]}], {second[0]} has [{shapes[1]}]"
    return ""


def _ends(model: subject.Subject, made: dict[str, int], read: set[str]) -> Iterator[tree.Fault]:
    """The ensemble's own inputs are read, its outputs are made, and nothing is made for nobody."""
    for part, names, word in (("inputs", read, "read by no step"), ("outputs", made.keys(), "made by no step")):
        for name in getattr(model.entry, part):
            if name not in names:
                path = (*model.path, part, name)
                yield tree.Fault(path=path, rule="ensemble-tensor", message=f"`{name[:80]}` is {word}", on_key=True)
    for tensor, index in made.items():
        if tensor not in read and tensor not in model.entry.outputs:
            message = f"`{tensor[:80]}` is read by nobody"
            hint = "leave it out of the map, or make it an output"
            yield model.fault("ensemble-tensor", message, _FIELD, "step", index, "output_map", hint=hint)
