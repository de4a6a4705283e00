"""The rules of a model's `config:`: fields that other keys decide, unknown ones, and what Triton refuses of the rest.

The parts that know a subject (batching, instances, ...) are asked of the fields that have the right shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from pipeline.core import config, fields, spec, tree
from pipeline.core.rules import asking, subject

Part = Callable[[subject.Subject], Iterator[tree.Fault]]

_SCHEDULED = frozenset({"dynamic_batching", "sequence_batching", "response_cache"})
_LYING = frozenset({"model_warmup", "sequence_batching", "parameters"})


def faults(
    entry: spec.ModelEntry,
    models: Mapping[str, spec.ModelEntry],
    target: spec.Target | None,
    path: tree.Path,
    unread: frozenset[str] = frozenset(),
) -> Iterator[tree.Fault]:
    """What is wrong with the further fields of a model and of its tensors. `models` are all of the spec but those that
    are `unread`, being faulty themselves."""
    typed = {key: where for key, where in config.TYPED.items() if key not in subject.open_keys(entry)}
    if entry.warmup is not None:
        typed["model_warmup"] = "by `warmup` of the model"
    yield from _typed(entry, typed, path)
    rest = {key: value for key, value in entry.config.items() if key not in typed}
    wrong = [*_shapes(rest, path), *_tensors(entry, path)]
    yield from wrong
    if any(fault.path[len(path)] != "config" for fault in wrong):
        return
    broken = {fault.path[len(path) + 1] for fault in wrong}
    whole = {key: value for key, value in rest.items() if key not in broken}
    entry = msgspec.structs.replace(entry, config=whole)
    model = subject.Subject(entry=entry, target=target, path=path, models=models, unread=unread)
    for part in _parts(model):
        yield from part(model)


def _parts(model: subject.Subject) -> Iterator[Part]:
    """The rules that a model has to do with, imported here: a plan would wait for those that no model needs."""
    entry, said = model.entry, model.config.keys()
    extras = any(tensor.config for tensors in (entry.inputs, entry.outputs) for tensor in tensors.values())
    yield asking.faults
    if said & _SCHEDULED:
        from pipeline.core.rules import batching  # noqa: PLC0415

        yield batching.faults
    if "instance_group" in said:
        from pipeline.core.rules import instances  # noqa: PLC0415

        yield instances.faults
    if "model_warmup" in said or entry.warmup is not None:
        from pipeline.core.rules import samples  # noqa: PLC0415

        yield samples.faults
    if extras or said & {"batch_input", "batch_output"}:
        from pipeline.core.rules import shapes  # noqa: PLC0415

        yield shapes.faults
    if "model_metrics" in said:
        from pipeline.core.rules import metrics  # noqa: PLC0415

        yield metrics.faults
    if extras or said & {"sequence_batching", "parameters"}:
        from pipeline.core.rules import pytorch  # noqa: PLC0415

        yield pytorch.faults
    if entry.source == "ensemble" or "ensemble_scheduling" in said:
        from pipeline.core.rules import ensemble  # noqa: PLC0415

        yield ensemble.faults
    if entry.files or extras or said & _LYING or subject.is_finished(entry):
        from pipeline.core.rules import beside  # noqa: PLC0415

        yield from (beside.faults, beside.backend)


def _typed(entry: spec.ModelEntry, typed: Mapping[str, str], path: tree.Path) -> Iterator[tree.Fault]:
    """Fields that other keys decide, and the pipeline's own parameter."""
    parameters = entry.config.get("parameters")
    if isinstance(parameters, dict) and config.DIGEST in parameters:
        message = f"the parameter `{config.DIGEST}` is the pipeline's own"
        where = (*path, "config", "parameters", config.DIGEST)
        yield tree.Fault(path=where, rule="config-clash", message=message, hint="remove it", on_key=True)
    tensors = [
        ((*path, part, name, "config"), tensor.config)
        for part in ("inputs", "outputs")
        for name, tensor in getattr(entry, part).items()
    ]
    said: list[tuple[tree.Path, dict[str, Any], Mapping[str, str]]] = [
        ((*path, "config"), entry.config, typed),
        *((at, data, config.TENSORS) for at, data in tensors),
    ]
    for at, written, elsewhere in said:
        for key in [key for key in written if key in elsewhere]:
            message = f"`{key}` is said elsewhere: {elsewhere[key]}"
            yield tree.Fault(path=(*at, key), rule="config-clash", message=message, hint="remove it", on_key=True)


def _shapes(rest: dict[str, Any], path: tree.Path) -> Iterator[tree.Fault]:
    for steps, message, hint in fields.check(rest) if rest else ():
        where = (*path, "config", *steps)
        yield tree.Fault(path=where, rule="config-field", message=message, hint=hint, on_key=True)


def _tensors(entry: spec.ModelEntry, path: tree.Path) -> Iterator[tree.Fault]:
    for part, tensors, kind in (("inputs", entry.inputs, "ModelInput"), ("outputs", entry.outputs, "ModelOutput")):
        for name, tensor in tensors.items():
            rest = {key: value for key, value in tensor.config.items() if key not in config.TENSORS}
            for steps, message, hint in fields.check(rest, kind) if rest else ():
                where = (*path, part, name, "config", *steps)
                yield tree.Fault(path=where, rule="config-field", message=message, hint=hint, on_key=True)
