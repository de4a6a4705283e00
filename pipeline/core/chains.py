"""Ensembles as chains of models: which versions their steps run, in which order, and who depends on whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pipeline.core import build, spec

At = tuple[str, int]
_NEWEST = 0
"""A version above this is meant by its number; Triton takes -1 for the newest that is served."""


def steps(model: spec.Model) -> tuple[dict[str, Any], ...]:
    """The steps of an ensemble, each after those whose tensors it reads; none of any other model."""
    waiting = list(model.config.get("ensemble_scheduling", {}).get("step", ()))
    ready, ordered = set(model.inputs), []
    while waiting:
        able = [step for step in waiting if set(step.get("input_map", {}).values()) <= ready]
        if not able:  # a circle, which the rules refuse
            break
        ordered += able
        ready |= {tensor for step in able for tensor in step.get("output_map", {}).values()}
        waiting = [step for step in waiting if step not in able]
    return tuple(ordered)


def runs(model: spec.Model) -> tuple[str, ...]:
    """The models that an ensemble's steps run."""
    return tuple(dict.fromkeys(step["model_name"] for step in steps(model)))


def with_steps(declared: spec.Spec, made: Mapping[At, build.Build], at: At) -> build.Build:
    """A build with the builds of its steps, where it is an ensemble's that can be asked."""
    model = declared.models[at[0]]
    if not spec.is_ensemble(model) or model.golden.none is not None:
        return made[at]
    chained = tuple(
        build.Step(
            build=with_steps(declared, made, (step["model_name"], _version(declared, step))),
            inputs=step["input_map"],
            outputs=step["output_map"],
        )
        for step in steps(model)
    )
    return msgspec.structs.replace(made[at], steps=chained)


def _version(declared: spec.Spec, step: Mapping[str, Any]) -> int:
    number = int(step.get("model_version", _NEWEST))
    return number if number > _NEWEST else max(spec.served_versions(declared.models[step["model_name"]]))


def touched(declared: spec.Spec, names: Iterable[str]) -> tuple[str, ...]:
    """The models, and the ensembles that run them, directly or by others: their answers change together. In the order
    of the spec."""
    found = set(names)
    while more := {name for name, model in declared.models.items() if name not in found and found & set(runs(model))}:
        found |= more
    return tuple(name for name in declared.models if name in found)


def needed(declared: spec.Spec, names: Iterable[str]) -> tuple[str, ...]:
    """The models, and those that their steps run: what a server must have to answer. Steps come first."""
    ordered: dict[str, None] = {}
    for name in names:
        if name in declared.models and name not in ordered:
            ordered |= dict.fromkeys((*needed(declared, runs(declared.models[name])), name))
    return tuple(ordered)
