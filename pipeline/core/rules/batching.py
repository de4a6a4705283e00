"""The rules of scheduling: dynamic and sequence batching, priorities and queues, and what does not go with them.

Each is what Triton's core refuses at load (`ValidateModelConfig`), tried on 24.10.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.core import tree
from pipeline.core.rules import subject

_VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
_CORRID = "CONTROL_SEQUENCE_CORRID"
_CORRIDS = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")


def faults(model: subject.Subject) -> Iterator[tree.Fault]:
    """What Triton would refuse of a model's scheduling."""
    config = model.config
    dynamic, sequences = config.get("dynamic_batching"), config.get("sequence_batching")
    if dynamic is not None:
        yield from _preferred(model, dynamic, "dynamic_batching")
        yield from _priorities(model, dynamic)
        yield from _order(model, dynamic)
    if sequences is not None:
        yield from _preferred(model, sequences.get("oldest", {}), "sequence_batching", "oldest")
        yield from _slots(model, sequences)
        yield from _controls(model, sequences)
    yield from _cache(model)


def _preferred(model: subject.Subject, batching: dict[str, Any], *at: str) -> Iterator[tree.Fault]:
    most = model.entry.max_batch_size
    for index, size in enumerate(batching.get("preferred_batch_size", ())):
        if not 1 <= size <= most:
            message = f"the preferred batch size {size} is not from 1 to max_batch_size, {most}"
            hint = "remove it, or raise max_batch_size" if size > most else "remove it"
            yield model.fault("preferred-batch", message, *at, "preferred_batch_size", index, hint=hint)


def _priorities(model: subject.Subject, dynamic: dict[str, Any]) -> Iterator[tree.Fault]:
    levels = dynamic.get("priority_levels", 0)
    default = dynamic.get("default_priority_level", 0)
    at = "dynamic_batching"
    if levels and not 1 <= default <= levels:
        message = f"the default priority level is {default}, and must be from 1 to priority_levels, {levels}"
        where = "default_priority_level" if "default_priority_level" in dynamic else "priority_levels"
        yield model.fault("priority-level", message, at, where, hint="write `default_priority_level: 1`")
    for level in dynamic.get("priority_queue_policy", {}):
        if levels and not 1 <= int(level) <= levels:
            message = f"there is no priority level {level}: priority_levels is {levels}"
            hint = f"name a level from 1 to {levels}"
            steps = (at, "priority_queue_policy", level)
            yield model.fault("priority-level", message, *steps, hint=hint, on_key=True)


def _order(model: subject.Subject, dynamic: dict[str, Any]) -> Iterator[tree.Fault]:
    """Answers in the order of the requests leave no room for priorities, nor for requests that wait behind others."""
    if not dynamic.get("preserve_ordering"):
        return
    at = "dynamic_batching"
    if dynamic.get("priority_levels", 0) > 1:
        message = "`preserve_ordering` does not go with more than one priority level"
        yield model.fault("queue-order", message, at, "priority_levels", hint="remove one of the two")
    policies = dynamic.get("priority_queue_policy", {})
    steps: tuple[tuple[tuple[str, ...], dict[str, Any]], ...]
    steps = (
        (("default_queue_policy",), dynamic.get("default_queue_policy", {})),
        *((("priority_queue_policy", level), policy) for level, policy in policies.items()),
    )
    for step, policy in steps:
        if policy.get("timeout_action") == "DELAY" and policy.get("default_timeout_microseconds"):
            message = "`preserve_ordering` does not go with requests that are delayed after a timeout"
            hint = "write REJECT, or remove preserve_ordering"
            yield model.fault("queue-order", message, at, *step, "timeout_action", hint=hint)


def _slots(model: subject.Subject, sequences: dict[str, Any]) -> Iterator[tree.Fault]:
    share = sequences.get("direct", {}).get("minimum_slot_utilization", 0.0)
    if not 0 <= share <= 1:
        message = f"the share of slots is {share}, and must be from 0 to 1"
        yield model.fault("slot-share", message, "sequence_batching", "direct", "minimum_slot_utilization")


def _controls(model: subject.Subject, sequences: dict[str, Any]) -> Iterator[tree.Fault]:
    """Control inputs have names of their own, and each control stands once, with values that fit it."""
    names: set[str] = set()
    kinds: dict[str, str] = {}
    for index, control in subject.lists(sequences, "control_input"):
        at = ("sequence_batching", "control_input", index)
        name = control.get("name", "")
        if not name:
            yield model.fault("control-input", "a control input needs a name", *at)
        elif name in names or name in model.entry.inputs:
            whose = "an input of the model" if name in model.entry.inputs else "another control input"
            message = f"the control input `{name[:80]}` is {whose} already"
            yield model.fault("control-input", message, *at, "name", hint="choose another name")
        names.add(name)
        for number, each in subject.lists(control, "control"):
            yield from _control(model, each, name, kinds, (*at, "control", number))


def _control(
    model: subject.Subject, control: dict[str, Any], name: str, kinds: dict[str, str], at: tree.Path
) -> Iterator[tree.Fault]:
    kind = control.get("kind", "CONTROL_SEQUENCE_START")
    if kind in kinds:
        message = f"{kind} is told twice: by `{kinds[kind][:80]}` and `{name[:80]}`"
        yield model.fault("control-twice", message, *at, hint="remove one of the two")
    kinds.setdefault(kind, name)
    given = [value for value in _VALUES if control.get(value)]
    if kind == _CORRID:
        if given:
            message = f"{_CORRID} is a number, not false or true"
            yield model.fault("control-values", message, *at, given[0], hint="write its `data_type` instead")
        elif control.get("data_type") not in _CORRIDS:
            message = f"the type of {_CORRID} must be one of {', '.join(_CORRIDS)}"
            yield model.fault("control-values", message, *at, *(["data_type"] if "data_type" in control else []))
    elif len(given) != 1:
        message = f"{kind} needs exactly one of {', '.join(f'`{value}`' for value in _VALUES)}"
        yield model.fault("control-values", message, *at, hint="write `int32_false_true: [0, 1]`")
    elif len(control[given[0]]) != 2:
        message = f"`{given[0]}` has the value for false and the one for true, {len(control[given[0]])} are given"
        yield model.fault("control-values", message, *at, given[0])


def _cache(model: subject.Subject) -> Iterator[tree.Fault]:
    """Answers are kept neither for sequences nor for decoupled models."""
    if not model.config.get("response_cache", {}).get("enable"):
        return
    decoupled = model.config.get("model_transaction_policy", {}).get("decoupled")
    for known, words in (
        (decoupled, "a decoupled model"),
        ("sequence_batching" in model.config, "a model with sequence batching"),
    ):
        if known:
            message = f"the answers of {words} cannot be cached"
            yield model.fault("response-cache", message, "response_cache", hint="remove it", on_key=True)
