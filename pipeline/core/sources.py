"""The versions of a model with their sources and exports resolved: overrides merged, short forms written out.

Whether a source is there, and what it holds, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from pipeline.core import paths, platforms, spec, tree


def borrowed(entries: Mapping[str, spec.ModelEntry]) -> tuple[dict[str, spec.ModelEntry], list[tree.Fault]]:
    """The models with the sources of others, where they name these, in place of the names; one whose source cannot be
    had stays as it is, with a fault."""
    found = dict(entries)
    faults = []
    for name, entry in entries.items():
        lender = borrows(entry)
        if lender is None:
            continue
        other = entries.get(lender)
        if other is None or other.source == "ensemble" or borrows(other) is not None:
            message = f"there is no model `{lender[:80]}`" if other is None else f"`{lender}` has no source of its own"
            hint = tree.nearest(lender, [each for each in entries if each != name]) if other is None else ""
            at = ("models", name, "source", "model")
            faults.append(tree.Fault(path=at, rule="unknown-model", message=message, hint=hint))
            continue
        found[name] = msgspec.structs.replace(entry, source=other.source)
    return found, faults


def borrows(entry: spec.ModelEntry) -> str | None:
    """The model whose source a model names as its own; None where it has one itself."""
    source = entry.source
    return source.model if source != "ensemble" and spec.kinds(source) == ("model",) else None


def versions(
    entry: spec.ModelEntry, built: tree.Tree, path: tree.Path
) -> tuple[dict[int, spec.Version], list[tree.Fault]]:
    """The model's versions by ascending number, and what is wrong with their sources and exports.

    `path` is the model's path in the tree. A version with faults is left out.
    """
    if entry.source == "ensemble":
        return _of_others(entry, path)
    resolved: dict[int, spec.Version] = {}
    found: list[tree.Fault] = []
    kinds = spec.kinds(entry.source)
    if len(kinds) != 1:
        return {}, [tree.exactly_one((*path, "source"), kinds, spec.Source.__struct_fields__)]
    found += _source_faults(entry.source, (*path, "source"))
    for name, override in entry.versions.items():
        at: tree.Path = (*path, "versions", name)
        source, faults = _source(entry.source, override or spec.Override(), built, at)
        export = None
        if source is not None:
            export, wrong = _export(entry, override or spec.Override(), source, at)
            faults += wrong
        found += faults
        if source is not None and not faults:
            resolved[int(name)] = spec.Version(number=int(name), source=_long(source), export=export)
    found += _mixed(resolved, path)
    if entry.export is not None and resolved and all(each.export is None for each in resolved.values()) and not found:
        message = "`export` has no meaning here: every version's source is a finished `file`"
        found.append(tree.Fault(path=(*path, "export"), rule="export-of-file", message=message, on_key=True))
    return dict(sorted(resolved.items())), found


def _mixed(versions: dict[int, spec.Version], path: tree.Path) -> Iterator[tree.Fault]:
    """Triton has one platform a model, whatever its versions are."""
    first = next(iter(versions.values()), None)
    for number, version in versions.items():
        if first is not None and platforms.of(version).filename != platforms.of(first).filename:
            names = f"`{platforms.of(version).format}`", f"`{platforms.of(first).format}`"
            message = f"version {number} is {names[0]} and version {first.number} {names[1]}: Triton has one platform a"
            hint = "give it the other versions' export, or make it a model of its own"
            at = (*path, "versions", str(number))
            yield tree.Fault(path=at, rule="mixed-formats", message=f"{message} model", hint=hint, on_key=True)


def _of_others(entry: spec.ModelEntry, path: tree.Path) -> tuple[dict[int, spec.Version], list[tree.Fault]]:
    """The versions of an ensemble, which has neither sources nor exports."""
    found = list(_of_ensemble(entry.export, (*path, "export")))
    for name, override in entry.versions.items():
        at = (*path, "versions", name)
        found += _of_ensemble(override and override.source, (*at, "source"))
        found += _of_ensemble(override and override.export, (*at, "export"))
    numbers = sorted(map(int, entry.versions))
    return {number: spec.Version(number=number, source=spec.Source(), export=None) for number in numbers}, found


def _of_ensemble(written: object, path: tree.Path) -> Iterator[tree.Fault]:
    if written:
        message = f"`{path[-1]}` has no meaning here: an ensemble runs other models"
        yield tree.Fault(path=path, rule="ensemble-source", message=message, hint="remove it", on_key=True)


def _source(
    own: spec.Source, override: spec.Override, built: tree.Tree, at: tree.Path
) -> tuple[spec.Source | None, list[tree.Fault]]:
    """The source of one version. An override that names another kind replaces the model's own."""
    if not override.source:
        return own, []
    path = (*at, "source")
    merged = merge(msgspec.to_builtins(_long(own)), override.source, kind=spec.kind(own))
    has_nulls = any(null[: len(path)] == path for null in built.nulls)
    try:
        source = msgspec.convert(merged, spec.Source)
    except msgspec.ValidationError:
        source = None
    kinds = [name for name in merged if name in spec.Source.__struct_fields__]
    if source is None or has_nulls or len(kinds) != 1:
        from pipeline.core import structure  # noqa: PLC0415 - jsonschema is slow to import, and seldom needed

        found = structure.faults(merged, built, part="Source", path=path)
        if found:
            return None, found
    if source is None:
        return None, [tree.Fault(path=path, rule="wrong-type", message="this does not make a source")]
    if source.model is not None:
        message = "a version cannot name another model's source: its model can"
        return None, [tree.Fault(path=(*path, "model"), rule="unknown-model", message=message, on_key=True)]
    found = list(_source_faults(source, path))
    return (None if found else source), found


def merge(base: dict[str, Any], override: dict[str, Any], *, kind: str) -> dict[str, Any]:
    """`override` merged key by key into the source `base`, whose kind is `kind`."""
    if kind not in override:
        return dict(override)
    own = override[kind]
    if kind == "file" and isinstance(own, dict) and "path" in own:
        return dict(override)  # another file has other digests: none of the first one's may stay
    if isinstance(own, str):
        own = {"callable" if kind == "factory" else "folder": own} if kind in {"factory", "path"} else own
    return {**override, kind: _deep(base[kind], own)}


def _deep(base: object, override: object) -> object:
    if not isinstance(base, dict) or not isinstance(override, dict):
        return override
    return {**base, **{key: _deep(base.get(key), value) for key, value in override.items()}}


def _long(source: spec.Source) -> spec.Source:
    """The source with its short form written out, so that equal sources are equal data."""
    if isinstance(source.path, str):
        return spec.Source(path=spec.PathSource(folder=source.path))
    if isinstance(source.factory, str):
        return spec.Source(factory=spec.FactorySource(callable=source.factory))
    return source


def _export(
    entry: spec.ModelEntry, override: spec.Override, source: spec.Source, at: tree.Path
) -> tuple[spec.Export | None, list[tree.Fault]]:
    if spec.kind(source) == "file":
        if override.export is not None:
            message = "`export` has no meaning here: the source is a finished `file`"
            return None, [tree.Fault(path=(*at, "export"), rule="export-of-file", message=message, on_key=True)]
        return None, []
    export = override.export if override.export is not None else entry.export
    if export is None:
        message = f"`export` is missing: a `{spec.kind(source)}` source must be made into an artifact"
        hint = "add `export: trace` to the model"
        return None, [tree.Fault(path=at[:-2], rule="missing-key", message=message, hint=hint, on_key=True)]
    made = spec.Export(method=export) if isinstance(export, str) else export
    faults = list(_options(made, source, (*at, "export") if override.export is not None else (*at[:-2], "export")))
    return (None if faults else made), faults


def _options(export: spec.Export, source: spec.Source, path: tree.Path) -> Iterator[tree.Fault]:
    """An option that the method does not have is a mistake, not something to pass over; so is a source that it cannot
    take."""
    known = ("fp32", *platforms.PRECISIONS.get(export.method, ()))
    if export.precision not in known:
        message = f"`{export.method}` has no precision {export.precision}: it has {', '.join(known)}"
        yield tree.Fault(path=(*path, "precision"), rule="export-option", message=message)
    wanted = platforms.METHODS[export.method].sources
    if wanted and spec.kind(source) not in wanted:
        names = " or ".join(f"`{name}`" for name in wanted)
        message = f"`{export.method}` is made of a {names} source, and this is a `{spec.kind(source)}`"
        yield tree.Fault(path=path, rule="export-source", message=message, hint="choose another `export`", on_key=True)
    if export.opset is not None and platforms.METHODS[export.method].format != "onnx":
        message = f"`opset` is ONNX's: `{export.method}` has none"
        yield tree.Fault(path=(*path, "opset"), rule="export-option", message=message, hint="remove it", on_key=True)


def _source_faults(source: spec.Source, path: tree.Path) -> Iterator[tree.Fault]:
    """Paths that lead outside, and artifacts that no exporter names."""
    where: dict[tuple[str | int, ...], str] = {}
    long = _long(source)
    if long.wheel:
        where["wheel", "path"] = long.wheel.path
    if isinstance(long.path, spec.PathSource):
        where[("path",) if isinstance(source.path, str) else ("path", "folder")] = long.path.folder
    if long.file:
        where["file", "path"] = long.file.path
    if isinstance(long.factory, spec.FactorySource):
        where |= {("factory", "files", index): name for index, name in enumerate(long.factory.files)}
    for key, text in where.items():
        if problem := paths.outside(text):
            hint = "write it relative to the spec, with / between folders"
            message = f"the path {text[:80]!r} {problem}"
            yield tree.Fault(path=(*path, *key), rule="bad-path", message=message, hint=hint)
    if long.file and long.file.wheels and not long.file.files:
        message = "wheels lie beside the files of a Python model, and this is a single file"
        at = (*path, "file", "wheels")
        yield tree.Fault(path=at, rule="wheels-of-file", message=message, hint="name its folder's `files`", on_key=True)
    if long.file and (long.file.sha256 is None) is not bool(long.file.files):
        written = [key for key in ("sha256", "files") if getattr(long.file, key)]
        yield tree.exactly_one((*path, "file"), written, ("sha256", "files"))
    elif long.file and not long.file.files and platforms.of_file(long.file.path) is None:
        message = f"the artifact {long.file.path[-80:]!r} is of no format that is known by its name"
        hint = f"the name must end in one of {platforms.suffixes()}; or adopt its folder: `files`, each with its sha256"
        yield tree.Fault(path=(*path, "file", "path"), rule="bad-artifact", message=message, hint=hint)
