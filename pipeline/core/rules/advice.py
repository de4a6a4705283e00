"""Warnings: fields that Triton accepts and that do nothing, here or at all. `validate` tells them; nothing stops.

Tried on Triton 24.10: each of these loads.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from pipeline.core import backends, config, findings, spec, tree

_READERS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("optimization", "cuda"): ("tensorrt",),
    ("optimization", "priority"): ("tensorrt",),
    ("optimization", "gather_kernel_buffer_threshold"): ("tensorrt",),
    ("optimization", "eager_batching"): ("tensorrt",),
    ("optimization", "graph"): ("onnxruntime", "tensorflow"),
    ("optimization", "execution_accelerators"): ("onnxruntime", "tensorflow"),
    ("model_operations",): ("onnxruntime",),
    ("cc_model_filenames",): ("tensorrt", "tensorflow", "onnxruntime", "pytorch"),
}
"""Fields that only these of NVIDIA's own backends read, as model_config.proto says."""
_NVIDIAS = frozenset(backends.FILES.values())
_PYTORCH = (
    "DISABLE_OPTIMIZED_EXECUTION",
    "INFERENCE_MODE",
    "INTER_OP_THREAD_COUNT",
    "INTRA_OP_THREAD_COUNT",
    "ENABLE_WEIGHT_SHARING",
    "ENABLE_CACHE_CLEANING",
    "ENABLE_JIT_EXECUTOR",
    "ENABLE_JIT_PROFILING",
    "ENABLE_TENSOR_FUSER",
)


def told(declared: spec.Spec) -> Iterator[tree.Fault]:
    """What in the configs of a spec is to no purpose. The places are paths into its tree."""
    for name, model in declared.models.items():
        for part in _PARTS:
            for fault in part(model):
                where: tree.Path = ("models", name, "config", *fault.path)
                yield msgspec.structs.replace(fault, path=where, severity=findings.Severity.WARNING)


def _fault(rule: str, message: str, *steps: str | int, hint: str = "") -> tree.Fault:
    return tree.Fault(path=steps, rule=rule, message=message, hint=hint, on_key=True)


def _batching(model: spec.Model) -> Iterator[tree.Fault]:
    dynamic = model.config.get("dynamic_batching")
    if dynamic is None:
        return
    if model.max_batch_size == 0:
        message = "nothing is joined into batches: max_batch_size is 0"
        yield _fault("batching-off", message, "dynamic_batching", hint="set max_batch_size, or remove it")
    if not dynamic.get("priority_levels"):
        for field in ("default_priority_level", "priority_queue_policy"):
            if dynamic.get(field):
                message = f"`{field}` means nothing without priority levels"
                yield _fault("priority-unused", message, "dynamic_batching", field, hint="set priority_levels")


def _instances(model: spec.Model) -> Iterator[tree.Fault]:
    groups: list[dict[str, Any]] = model.config.get("instance_group", [])
    if groups and all(group.get("passive") for group in groups):
        message = "every group is passive: no instance takes requests"
        yield _fault("instances-passive", message, "instance_group", hint="let one group take them")
    for index, group in enumerate(groups):
        at = ("instance_group", index)
        if group.get("count", 1) < 1:
            message = f"a count of {group['count']} counts as 1"
            yield _fault("instance-count", message, *at, "count", hint="write what you mean")
        if "rate_limiter" in group:
            message = "Triton heeds it only where it was started with a rate limit, which this pipeline does not do"
            yield _fault("rate-limiter-off", message, *at, "rate_limiter", hint="remove it, or limit `count`")
            yield from _resources(group["rate_limiter"], (*at, "rate_limiter"))


def _resources(limiter: dict[str, Any], at: tree.Path) -> Iterator[tree.Fault]:
    seen: set[tuple[str, bool]] = set()
    for index, resource in enumerate(limiter.get("resources", [])):
        key = (resource.get("name", ""), bool(resource.get("global")))
        where = (*at, "resources", index)
        if not key[0] or not resource.get("count"):
            lacks = "count" if key[0] else "name"
            yield _fault("rate-limiter-resource", f"a resource without a {lacks} limits nothing", *where)
        elif key in seen or (key[0], not key[1]) in seen:
            hint = "name a resource once, global everywhere or nowhere"
            yield _fault("rate-limiter-resource", f"the resource `{key[0][:80]}` stands twice", *where, hint=hint)
        seen.add(key)


def _cache(model: spec.Model) -> Iterator[tree.Fault]:
    if model.config.get("response_cache", {}).get("enable"):
        message = "no answer is kept: this pipeline starts Triton without a cache"
        yield _fault("cache-off", message, "response_cache", hint="it does no harm, and no good either")


def _samples(model: spec.Model) -> Iterator[tree.Fault]:
    for index, sample in enumerate(model.config.get("model_warmup", [])):
        if not sample.get("batch_size"):
            message = "a sample without `batch_size` is not run"
            yield _fault("warmup-skipped", message, "model_warmup", index, hint="write `batch_size: 1`")


def _backend(model: spec.Model) -> Iterator[tree.Fault]:
    """Fields that another of NVIDIA's backends reads, and parameters with a name that is almost one."""
    backend = backends.backend(config.model_config(model, digest=None))
    for path, readers in _READERS.items():
        found: Any = model.config
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
        if found and backend in _NVIDIAS and backend not in readers:
            message = f"the {backend} backend does not read `{path[-1]}`, which is for {' and '.join(readers)}"
            yield _fault("backend-ignores", message, *path, hint="remove it")
    for key in model.config.get("parameters", {}) if backend == "pytorch" else ():
        close = difflib.get_close_matches(key.upper(), _PYTORCH, n=1, cutoff=0.8)
        if close and key not in _PYTORCH:
            message = f"the pytorch backend knows no parameter `{key[:80]}`, and ignores it"
            yield _fault("parameter-unknown", message, "parameters", key, hint=f"did you mean `{close[0]}`?")


_PARTS: tuple[Callable[[spec.Model], Iterator[tree.Fault]], ...] = (
    _batching,
    _instances,
    _cache,
    _samples,
    _backend,
)
