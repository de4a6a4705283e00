"""The entries of many models to one spec, with the proof that it says the same configs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from pipeline.core import config, errors, findings, parse, spec, yamldump
from pipeline.core.adopt import entry as entries
from pipeline.core.adopt import said

_FILE = "pipeline.yaml"


class Adopted(msgspec.Struct, frozen=True, kw_only=True):
    """The text of the spec, the models in it, and why others are not."""

    text: str
    models: tuple[str, ...]
    findings: tuple[findings.Finding, ...] = ()


def adopt(folders: Iterable[entries.Folder], *, origin: str, image: str, assumed: bool = False) -> Adopted:
    """The spec that serves the models of a repository as they are. `origin` names the repository, `image` the server
    that they are for; `assumed` says that nobody has named that image.

    A model that cannot be said, or that Triton would refuse, is left out, with the reason as a finding. Of every other
    one the config that follows from the spec is the one that was found, but for the name where it had none.
    """
    found: dict[str, entries.Entry] = {}
    told: list[findings.Finding] = []
    for folder in sorted(folders, key=lambda each: each.name):
        try:
            found[folder.name] = entries.entry(folder)
        except said.Refused as refused:
            told.append(_finding(folder.name, refused.message, refused.hint))
    while found:  # an ensemble can only be kept with all its models
        text = _text(found, origin=origin, image=image, assumed=assumed)
        wrong = list(_faults(text, found))
        told += wrong
        bad = {each.model for each in wrong}
        if not bad:
            return Adopted(text=text, models=tuple(found), findings=tuple(told))
        found = {name: each for name, each in found.items() if name not in bad}
    return Adopted(text="", models=(), findings=tuple(told))


def _text(found: Mapping[str, entries.Entry], *, origin: str, image: str, assumed: bool) -> str:
    head = (
        f"Adopted from {origin}: each config.pbtxt says what it said there, and every file is pinned by its digest.",
        "What Triton fills in by itself, and what was left out, stands above each model. Sizes that may vary (-1) are",
        "named any_1, any_2, ...: which of them are the same is not known, nor how large they may be.",
    )
    why = ("Nobody has said which image serves these models: write the one that does.",) if assumed else ()
    models = {name: yamldump.Noted(each.data, each.notes) for name, each in found.items()}
    target = {"image": yamldump.Noted(image, why)} if assumed else {"image": image}
    return yamldump.dump({"version": yamldump.Noted(1, head), "target": target, "models": models})


def _faults(text: str, found: Mapping[str, entries.Entry]) -> Iterator[findings.Finding]:
    """What is wrong with the spec, and where it would give another config than the one that was found."""
    try:
        declared = parse.parse_spec(text.encode(), file=_FILE)
    except errors.InvalidSpec as error:
        for fault in error.findings:
            if fault.model is None or fault.model not in found:
                msg = f"the spec of this repository cannot be read: {fault.message}"
                raise errors.PipelineError(msg, hint="Adopt fewer models at once, with --model.") from error
            path = fault.where.path.partition(f"{fault.model}.")[2] if fault.where else ""
            yield _finding(fault.model, f"{path}: {fault.message}" if path else fault.message, fault.hint, fault.rule)
        return
    for name, model in declared.models.items():
        for path in _differences(model, found[name].config):
            yield _finding(name, f"the spec cannot say its {path}", "Please report it: every field should be sayable.")


def _differences(model: spec.Model, found: Mapping[str, Any]) -> Iterator[str]:
    """The fields in which the config of a spec's model is not what was said."""
    made = config.normalize(config.model_config(model, digest=None))
    wanted = config.normalize({**found, "name": model.name})
    parameters = {key: value for key, value in wanted.pop("parameters", {}).items() if key != config.DIGEST}
    wanted |= {"parameters": parameters} if parameters else {}
    yield from (field for field in sorted(made.keys() | wanted.keys()) if made.get(field) != wanted.get(field))


def _finding(model: str, message: str, hint: str, rule: str = "adopt") -> findings.Finding:
    return findings.Finding(rule=rule, message=message, hint=hint, model=model)
