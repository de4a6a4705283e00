"""The rules of the pytorch backend: positions in names, no optional inputs, and the parameters that it parses.

What does not parse is known to the embedded backend, which has NVIDIA's rules and words: it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pipeline.core import spec, tree
from pipeline.core.rules import subject
from pipeline.triton_backends.pytorch import parameters
from pipeline.triton_backends.pytorch import rules as pytorch

INTER_OP = "INTER_OP_THREAD_COUNT"


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
    for key, value in model.config.get("parameters", {}).items():
        try:
            parameters.parse({"parameters": {key: value}})
        except pytorch.Refused as refused:
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


def together(models: Mapping[str, spec.ModelEntry]) -> Iterator[tree.Fault]:
    """Two models that set the threads between operators: the second to load would end NVIDIA's server."""
    first = ""
    for name, entry in models.items():
        path: tree.Path = ("models", name)
        model = subject.Subject(entry=entry, target=None, path=path)
        if model.backend != "pytorch" or not _sets(entry):
            continue
        if first:
            message = f"`{INTER_OP}` is set by the model `{first}` already: a process can set it once"
            hint = "NVIDIA's C++ server ends at the second: set it for one model only"
            yield model.fault("inter-op-twice", message, "parameters", INTER_OP, hint=hint, on_key=True)
        first = first or name


def _sets(entry: spec.ModelEntry) -> bool:
    given = entry.config.get("parameters", {})
    value = given.get(INTER_OP, {}) if isinstance(given, dict) else {}
    text = value.get("string_value") if isinstance(value, dict) else None
    return isinstance(text, str) and text.isdecimal() and int(text) > 0
