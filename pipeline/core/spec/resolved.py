"""The spec as the rest of the program reads it: version overrides merged, names resolved."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pipeline.core.spec.document import Beside, Export, Golden, VersionPolicy, Warmup
from pipeline.core.spec.source import Source
from pipeline.core.spec.target import Target
from pipeline.core.spec.tensor import Axis, Input, Output, Tolerance


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model with everything it inherits. `export` is None for an adopted file; the source of an
    ensemble's version is empty."""

    number: int
    source: Source
    export: Export | None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One Triton model with its versions resolved. Mappings keep the spec's order."""

    name: str
    max_batch_size: int
    inputs: dict[str, Input]
    outputs: dict[str, Output]
    axes: dict[str, Axis]
    versions: dict[int, Version]
    version_policy: Literal["all"] | VersionPolicy | None
    golden: Golden
    config: dict[str, Any]
    warmup: Warmup | None = None
    files: dict[str, Beside] = {}


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """The truth that everything else is derived from."""

    target: Target
    models: dict[str, Model]


def kinds(source: Source) -> tuple[str, ...]:
    """The keys that a source has: exactly one where `parse` has accepted it."""
    return tuple(name for name in source.__struct_fields__ if getattr(source, name) is not None)


def is_ensemble(model: Model) -> bool:
    """Whether a model runs others: there is no artifact of it."""
    return "ensemble_scheduling" in model.config


def has_folders(model: Model) -> bool:
    """Whether a version of a model is a finished folder, whatever is in it."""
    return any(version.source.file is not None and version.source.file.files for version in model.versions.values())


def is_finished(version: Version) -> bool:
    """Whether a version's artifact is there already, and is served as it is."""
    return version.export is None


def kind(source: Source) -> str:
    """The one key that a source has: config, wheel, path, hub, factory or file."""
    return kinds(source)[0]


def batches(model: Model) -> tuple[int, ...]:
    """The golden batch sizes that a server is asked; none for a model that cannot be asked."""
    return () if model.golden.none is not None else sizes(model, model.golden.batches)


def sizes(model: Model, written: tuple[int | Literal["max"], ...]) -> tuple[int, ...]:
    """Batch sizes in numbers: ascending, without repeats, none above max_batch_size; without batching the one 1."""
    if model.max_batch_size == 0:
        return (1,)
    most = model.max_batch_size
    return tuple(sorted({most if size == "max" else min(size, most) for size in written}))


_LOWER = {
    "fp16": Tolerance(rtol=1e-2, atol=1e-2),
    "bf16": Tolerance(rtol=5e-2, atol=5e-2),
    "int8": Tolerance(rtol=1e-1, atol=1e-1),
}
"""How far a lower precision may be from the eager model, where the spec does not say it."""


def judged(outputs: dict[str, Output], export: Export | None) -> dict[str, Output]:
    """The outputs with the tolerances that an export's answers are judged by."""
    own = (export.tolerance or _LOWER.get(export.precision)) if export else None
    if own is None:
        return outputs
    return {name: msgspec.structs.replace(output, tolerance=own) for name, output in outputs.items()}


def served_versions(model: Model) -> tuple[int, ...]:
    """The version numbers that Triton serves under the model's version policy (default: the newest one)."""
    numbers = sorted(model.versions)
    match model.version_policy:
        case "all":
            return tuple(numbers)
        case VersionPolicy(specific=tuple() as chosen):
            return tuple(number for number in numbers if number in chosen)
        case VersionPolicy(latest=int() as count):
            return tuple(numbers[-count:])
        case _:
            return tuple(numbers[-1:])
