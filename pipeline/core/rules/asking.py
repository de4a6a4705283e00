"""The rules of what cannot be asked: goldens are single requests, so some models can only be proven to load.

`golden: {none: "why"}` says so. It is asked for where no golden can be made or put, and refused where one can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.core import platforms, spec, tree
from pipeline.core.rules import subject


def faults(model: subject.Subject) -> Iterator[tree.Fault]:
    """What is wrong with a model's goldens, given its config."""
    entry = model.entry
    at = (*model.path, "golden")
    why = next(_reasons(entry, model.models), "")
    if entry.golden.none is None:
        if why:
            hint = f'write `golden: {{none: "{why}"}}`: it is only proven to load then, and reports say so'
            yield tree.Fault(path=at, rule="golden-unaskable", message=f"no golden can be had: {why}", hint=hint)
        elif _takes_texts(entry) and not entry.golden.texts:
            message = "a model that takes texts is asked texts"
            yield tree.Fault(path=at, rule="golden-texts", message=message, hint="write some as `golden.texts`")
        return
    if entry.golden.texts or entry.golden.tokenizer is not None:
        message = "there are no goldens, so they have no texts"
        yield tree.Fault(path=at, rule="golden-none", message=message, hint="remove one of the two", on_key=True)
    if not why and not subject.is_finished(entry) and entry.source != "ensemble":
        message = "an export is checked against its eager model, and what it answers can be asked"
        yield tree.Fault(path=(*at, "none"), rule="golden-none", message=message, hint="remove it", on_key=True)


def _takes_texts(entry: spec.ModelEntry) -> bool:
    """Whether an input is of texts, and may be."""
    methods = [each if isinstance(each, str) else each.method for each in (entry.export,) if each is not None]
    refused = [platforms.METHODS[method].refused for method in methods]
    return any(tensor.dtype == "STRING" and not any("STRING" in each for each in refused)
               for tensor in entry.inputs.values())  # fmt: skip


def _reasons(entry: spec.ModelEntry, models: Mapping[str, spec.ModelEntry]) -> Iterator[str]:
    """Why no golden can be made of a model, or asked. An ensemble's are its steps', each asked in turn."""
    if entry.source == "ensemble":
        for _, step in subject.lists(entry.config.get("ensemble_scheduling", {}), "step"):
            name = step.get("model_name", "")
            other = models.get(name)
            if other is None or other is entry:
                continue
            if why := other.golden.none if other.golden.none is not None else next(_reasons(other, models), ""):
                yield f"its step `{name}` cannot be asked: {why}"
        return
    if "sequence_batching" in entry.config:
        yield "a sequence is more than one request"
    if entry.config.get("model_transaction_policy", {}).get("decoupled"):
        yield "a decoupled model answers to streams only"
    if not subject.is_finished(entry):
        return
    overrides = [override.source.get("file", {}) for override in entry.versions.values() if override]
    if (entry.source.file and entry.source.file.files) or any("files" in each for each in overrides if each):
        yield "a finished folder is served as it is"
    if any("reshape" in tensor.config for tensors in (entry.inputs, entry.outputs) for tensor in tensors.values()):
        yield "the artifact takes another shape than clients send"
