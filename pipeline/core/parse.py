"""The text of `pipeline.yaml` to a `Spec`, or every fault of it at once.

Here the parts are joined: `yamltext` reads, msgspec converts, `structure` names what does not convert, `rules` and
`tensors` what cannot be meant. What a single rule asks for stands there, not here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.core import backends, errors, findings, rules, sources, spec, tensors, tree, yamltext

_SHOWN = 200


def parse_spec(text: bytes, *, file: str) -> spec.Spec:
    """The spec in `text`, UTF-8 bytes of at most 1 MiB; `file` names it in the findings.

    Raises `errors.InvalidSpec` with every fault found, in the order of the file.
    """
    built = yamltext.load(text, file=file)
    faults: list[tree.Fault] = []
    models: dict[str, spec.Model] = {}
    document: spec.Document | None = None
    if built.complete:
        document = _document(built, faults)
        models = _models(built, document, faults)
        faults += rules.document(document, built)
    found = list(built.faults) + [built.finding(fault) for fault in faults if not built.is_poisoned(fault.path)]
    if found or document is None:
        raise _invalid(file, found)
    return spec.Spec(target=document.target, models=models)


def _document(built: tree.Tree, faults: list[tree.Fault]) -> spec.Document | None:
    """The document as written; None, with its faults, where it does not have the shape of one."""
    document, problem = None, ""
    try:
        document = msgspec.convert(built.data, spec.Document)
    except msgspec.ValidationError as error:
        problem = str(error)
    if document is None or _odd_nulls(built):
        from pipeline.core import structure  # noqa: PLC0415 - jsonschema is slow to import, and seldom needed

        found = structure.faults(built.data, built)
        if problem and not found:
            found = [tree.Fault(path=(), rule="wrong-type", message=problem)]
        faults += found
        return None if found else document
    return document


def _odd_nulls(built: tree.Tree) -> bool:
    """Whether an empty value stands anywhere but as a version's override: msgspec would take some for absent."""
    return any(not (len(path) == 4 and path[0] == "models" and path[2] == "versions") for path in built.nulls)


def _models(built: tree.Tree, document: spec.Document | None, faults: list[tree.Fault]) -> dict[str, spec.Model]:
    """The models with their versions resolved. Where the document has faults, the models that have none are checked."""
    entries, unknown = sources.borrowed(document.models if document else _whole_entries(built, faults))
    faults += unknown
    written = built.data.get("models") if isinstance(built.data, dict) else None
    unread = frozenset(written if isinstance(written, dict) else ()) - entries.keys()
    target = rules.target_of(document, built)
    models: dict[str, spec.Model] = {}
    for name, entry in entries.items():
        path: tree.Path = ("models", name)
        if sources.borrows(entry):
            continue
        versions, unresolved = sources.versions(entry, built, path)
        served = backends.served(entry, versions)
        found = [
            *unresolved,
            *rules.model(entry, entries, served, built, path),
            *rules.fields(entry, entries, target, path, unread),
            *tensors.faults(entry, served, path),
            *rules.steps(entry, path),
        ]
        faults += found
        if not found:
            models[name] = _model(name, entry, versions)
    return models


def _whole_entries(built: tree.Tree, faults: list[tree.Fault]) -> dict[str, spec.ModelEntry]:
    """The models of a faulty document that are whole by themselves."""
    written: Any = built.data.get("models") if isinstance(built.data, dict) else None
    broken = {fault.path[1] for fault in faults if len(fault.path) > 1 and fault.path[0] == "models"}
    entries = {}
    for name, data in written.items() if isinstance(written, dict) else ():
        if name not in broken and not built.is_poisoned(("models", name)):
            try:
                entries[name] = msgspec.convert(data, spec.ModelEntry)
            except msgspec.ValidationError:
                continue
    return entries


def _model(name: str, entry: spec.ModelEntry, versions: dict[int, spec.Version]) -> spec.Model:
    return spec.Model(
        name=name,
        max_batch_size=entry.max_batch_size,
        inputs=entry.inputs,
        outputs=entry.outputs,
        axes=entry.axes,
        versions=versions,
        version_policy=entry.version_policy,
        golden=entry.golden,
        config=entry.config,
        warmup=spec.Warmup(data=entry.warmup) if isinstance(entry.warmup, str) else entry.warmup,
        files={file: spec.Beside(path=each) if isinstance(each, str) else each for file, each in entry.files.items()},
    )


def _invalid(file: str, found: list[findings.Finding]) -> errors.InvalidSpec:
    """The error that carries the findings, in the order of the file and without repeats."""
    start = findings.Where(file=file, line=1, column=1)
    ordered = sorted(set(found), key=lambda each: (each.where or start, each.rule, each.message))
    count = len(ordered)
    message = f"{file} has {count} fault{'' if count == 1 else 's'}"
    more = [f"and {count - _SHOWN} more"] if count > _SHOWN else []
    return errors.InvalidSpec(message, hint=f"correct {file}", details=more, found=ordered[:_SHOWN])
