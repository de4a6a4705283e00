"""Fields, and values of enums, that came after the release that shall serve: Triton refuses a config that has one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.core import catalog, config, descriptors, spec, tree


def told(declared: spec.Spec, known: catalog.Catalog, release: str, *, what: str) -> Iterator[tree.Fault]:
    """Every such field of a spec's models. `what` calls the release by its name: `the image 23.08`.

    Of a field whose first release is not known nothing is said, nor of what stands inside of one that was told.
    """
    messages = config.protobuf()
    for name, model in declared.models.items():
        found = [("config", *each) for each in _named(model.config, messages.ModelConfig.DESCRIPTOR, ())]
        if model.warmup is not None and model.warmup.count > 1:
            found.append(("warmup", ("count",), "ModelWarmup.count"))
        for part, kind in (("inputs", messages.ModelInput), ("outputs", messages.ModelOutput)):
            for tensor, each in getattr(model, part).items():
                found.append((part, (tensor, "dtype"), f"DataType.TYPE_{each.dtype}"))
                fields = _named(each.config, kind.DESCRIPTOR, (tensor, "config"))
                found += [(part, *field) for field in fields]
        told: list[tree.Path] = []
        for part, inner, field in found:
            entry, path = catalog.newer(known, field, release), ("models", name, part, *inner)
            if entry is not None and not any(path[: len(outer)] == outer for outer in told):
                told.append(path)
                yield _late(path, field.rpartition(".")[2], entry, what)


def _late(path: tree.Path, field: str, entry: catalog.Entry, what: str) -> tree.Fault:
    message = f"`{field}` came with {entry.first}, and {what} is older: Triton refuses it there"
    hint = f"take {entry.first} or later, or remove it"
    return tree.Fault(path=path, rule="field-too-new", message=message, hint=hint, on_key=True, source=entry.source)


def _named(data: dict[str, Any], kind: Any, path: tree.Path) -> Iterator[tuple[tree.Path, str]]:  # noqa: ANN401
    """Every field that is set, with its path in the data and its name in the catalog; values of enums too."""
    for name, value in data.items():
        field = kind.fields_by_name.get(name)
        if field is None:
            continue
        at = (*path, name)
        yield at, f"{descriptors.named(kind)}.{name}"
        single = descriptors.value(field)
        for step, each in _each(value, field, at):
            if single.message_type is not None and isinstance(each, dict):
                yield from _named(each, single.message_type, step)
            elif single.enum_type is not None:
                yield step, f"{descriptors.named(single.enum_type)}.{each}"


def _each(value: Any, field: Any, at: tree.Path) -> Iterator[tuple[tree.Path, Any]]:  # noqa: ANN401
    """The single values of a field: of a map, of a list, or the one."""
    if descriptors.is_map(field):
        yield from (((*at, key), each) for key, each in value.items())
    elif isinstance(value, list | tuple):
        yield from (((*at, index), each) for index, each in enumerate(value))
    else:
        yield at, value
