"""The rules of the pytorch backend: positions in names, no optional inputs, and the parameters that it parses.

What does not parse is known to the embedded backend, which has NVIDIA's rules and words: it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.core import tree
from pipeline.core.rules import subject


def faults(model: subject.Subject) -> Iterator[tree.Fault]:
    """What the backend would refuse of a model's config."""
    if model.backend != "pytorch":
        return
    yield from _controls(model)
    for name, tensor in model.entry.inputs.items():
        if tensor.config.get("optional"):
            where = (*model.path, "inputs", name, "config", "optional")
            message = f"the pytorch backend refuses optional inputs, and `{name[:80]}` is one"
            yield tree.Fault(path=where, rule="optional-input", message=message, hint="remove it", on_key=True)
    yield from _parameters(model)


def _parameters(model: subject.Subject) -> Iterator[tree.Fault]:
    """Values that do not parse, in the backend's own words."""
    given = model.config.get("parameters", {})
    if not given:
        return
    from pipeline.triton_backends import refusals  # noqa: PLC0415 - few models have parameters
    from pipeline.triton_backends.pytorch import parameters  # noqa: PLC0415

    for key, value in given.items():
        try:
            parameters.parse({"parameters": {key: value}})
        except refusals.Refused as refused:
            message = f"the pytorch backend refuses it: {refused}"
            hint = "write a whole number in quotes" if "integral" in message else 'write "true" or "false"'
            yield model.fault("parameter-value", message, "parameters", key, hint=hint)


def _controls(model: subject.Subject) -> Iterator[tree.Fault]:
    """The backend takes controls by position only."""
    sequences = model.config.get("sequence_batching", {})
    for index, control in subject.lists(sequences, "control_input"):
        name = control.get("name", "")
        if name and not re.fullmatch(r".+__[0-9]+", name):
            message = f"the control input `{name[:80]}` does not follow <name>__<index>, as the pytorch backend needs"
            yield model.fault("control-input", message, "sequence_batching", "control_input", index, "name")
