"""The rules of instance groups: where they run, against the GPUs that the server has.

Each is what Triton refuses at load (`ValidateInstanceGroup`), tried on 24.10.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.core import spec, tree
from pipeline.core.rules import subject


def faults(model: subject.Subject) -> Iterator[tree.Fault]:
    """What Triton would refuse of a model's instance groups."""
    most = _gpus(model.target)
    for index, group in subject.lists(model.config, "instance_group"):
        yield from _kind(model, group, index, most)
        yield from _profile(model, group, index)


def _gpus(target: spec.Target | None) -> int | None:
    """How many GPUs the server has: None where that is not known here. In a container they count from 0 on."""
    if target is None:
        return None
    if target.runtime == "embedded":
        return 0
    match target.gpus:
        case "none":
            return 0
        case "all":
            return None
        case int() as count:
            return count
        case chosen:
            return len(chosen)


def _kind(model: subject.Subject, group: dict[str, Any], index: int, most: int | None) -> Iterator[tree.Fault]:
    kind = group.get("kind", "KIND_AUTO")
    at = ("instance_group", index)
    gpus = group.get("gpus", [])
    if kind in {"KIND_CPU", "KIND_MODEL"} and gpus:
        message = f"{kind} takes no `gpus`"
        yield model.fault("instance-gpus", message, *at, "gpus", hint="remove them, or write KIND_GPU", on_key=True)
        return
    if most == 0 and (kind == "KIND_GPU" or gpus):
        word = "kind" if kind == "KIND_GPU" else "gpus"
        embedded = model.target is not None and model.target.runtime == "embedded"
        why = "the embedded server has no GPU" if embedded else "the server gets no GPU: target.gpus is none"
        hint = "write KIND_CPU, or KIND_AUTO without `gpus`, which takes what is there"
        yield model.fault("instance-gpus", why, *at, word, hint=hint)
        return
    for number, gpu in enumerate(gpus):
        if gpu < 0 or (most is not None and gpu >= most):
            count = f"the server has {most}, numbered from 0 on" if most is not None else "they count from 0 on"
            message = f"there is no GPU {gpu}: {count}"
            hint = "a container numbers the GPUs that it was given anew"
            yield model.fault("instance-gpus", message, *at, "gpus", number, hint=hint)


def _profile(model: subject.Subject, group: dict[str, Any], index: int) -> Iterator[tree.Fault]:
    """Optimization profiles are TensorRT's, and numbers."""
    at = ("instance_group", index, "profile")
    profiles = group.get("profile", [])
    if profiles and model.backend != "tensorrt":
        message = f"`profile` is TensorRT's, and the backend is {model.backend}"
        yield model.fault("instance-profile", message, *at, hint="remove it", on_key=True)
        return
    for number, profile in enumerate(profiles):
        if not (profile.isascii() and profile.isdecimal()):
            message = f"`{profile[:80]}` is not the number of a profile"
            yield model.fault("instance-profile", message, *at, number)
