"""The JSON Schema of `pipeline.yaml` with Triton's ModelConfig in it, made from the protobuf's own descriptors.

For editors and the reference page. It is made at development time: a run judges `config:` by `fields`, whose words are
better, and asks no schema for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Any

from pipeline.core import catalog, config, descriptors, schema

_TENSORS = {"Input": "ModelInput", "Output": "ModelOutput"}
_SCALARS: dict[str, schema.Schema] = {
    "bool": {"type": "boolean", "default": False},
    "float": {"type": "number", "default": 0},
    "text": {"type": "string", "default": ""},
    "bytes": {"type": "string", "contentEncoding": "base64", "default": ""},
}


def document_schema(known: catalog.Catalog) -> schema.Schema:
    """The schema, draft 2020-12, of a whole `pipeline.yaml`, every field of ModelConfig in it."""
    whole = schema.document_schema()
    parts: schema.Schema = whole["$defs"]
    messages = config.protobuf().ModelConfig.DESCRIPTOR.file.message_types_by_name
    parts |= definitions(messages["ModelConfig"], known, without=config.TYPED.keys() - config.OPEN)
    for kind in _TENSORS.values():
        parts |= definitions(messages[kind], known, without=config.TENSORS)
    for name, kind in {"ModelEntry": "ModelConfig", **_TENSORS}.items():
        field = parts[name]["properties"]["config"]
        del field["type"]
        field["$ref"] = f"#/$defs/{kind}"
    return {**whole, "$defs": dict(sorted(parts.items()))}


def definitions(kind: Any, known: catalog.Catalog, *, without: Collection[str] = ()) -> schema.Schema:  # noqa: ANN401
    """The definitions of a message and of every message in it, by name; its own fields in `without` are left out.

    `kind` is protobuf's descriptor. Raises KeyError for a field that the catalog lacks.
    """
    made: schema.Schema = {}
    queue = [kind]
    while queue:
        each = queue.pop()
        if descriptors.named(each) in made:
            continue
        shown = [field for field in each.fields if each is not kind or field.name not in without]
        made[descriptors.named(each)] = _definition(each, shown, known)
        queue += [inner for field in shown if (inner := descriptors.value(field).message_type) is not None]
    return made


def _definition(kind: Any, shown: list[Any], known: catalog.Catalog) -> schema.Schema:  # noqa: ANN401
    name = descriptors.named(kind)
    made: schema.Schema = {
        "type": "object",
        "description": _words(known, name),
        "properties": {field.name: _property(field, f"{name}.{field.name}", known) for field in shown},
        "additionalProperties": False,
    }
    clashes = list(_clashes(kind, {field.name for field in shown}))
    return {**made, "allOf": clashes} if clashes else made


def _clashes(kind: Any, shown: Collection[str]) -> Iterator[schema.Schema]:  # noqa: ANN401
    """Of a oneof's fields only one may be set."""
    for group in kind.oneofs:
        for pair in itertools.combinations([field.name for field in group.fields if field.name in shown], 2):
            yield {"not": {"required": list(pair)}}


def _property(field: Any, path: str, known: catalog.Catalog) -> schema.Schema:  # noqa: ANN401
    """A field: a map, a list, or a single value, with its words and with what it is where it is absent."""
    words = {"description": _words(known, path)}
    single = _single(descriptors.value(field), known)
    if descriptors.is_map(field):
        is_text = descriptors.scalar(descriptors.key(field)) == "text"
        names = {} if is_text else {"propertyNames": {"pattern": "^[0-9]{1,20}$"}}
        return {**words, "type": "object", "additionalProperties": _bare(single), **names, "default": {}}
    if field.is_repeated:
        return {**words, "type": "array", "items": _bare(single), "default": []}
    return {**words, **single}


def _bare(single: schema.Schema) -> schema.Schema:
    return {key: value for key, value in single.items() if key != "default"}


def _single(field: Any, known: catalog.Catalog) -> schema.Schema:  # noqa: ANN401
    if field.message_type is not None:
        return {"$ref": f"#/$defs/{descriptors.named(field.message_type)}"}
    if field.enum_type is not None:
        values = [each.name for each in field.enum_type.values]
        texts = [_words(known, f"{descriptors.named(field.enum_type)}.{value}") for value in values]
        return {"enum": values, "enumDescriptions": texts, "default": values[0]}
    kind = descriptors.scalar(field)
    if kind != "int":
        return dict(_SCALARS[kind])
    low, high = descriptors.integers(field)
    return {"type": "integer", "minimum": low, "maximum": high, "default": 0}


def _words(known: catalog.Catalog, path: str) -> str:
    entry = known[path]
    return f"{entry.description} From {entry.first} on." if entry.first else entry.description
