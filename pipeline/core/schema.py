"""The JSON Schema of `pipeline.yaml`, made from the types of `spec`, and the reference page made from the schema.

The committed `schemas/pipeline.schema.json` and `docs/spec.md` are these functions' output.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from pipeline.core import spec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_KINDS = {
    "array": "a list",
    "boolean": "`true` or `false`",
    "null": "nothing",
    "object": "a mapping",
    "string": "text",
}
_ONE_KEY = ("Source", "VersionPolicy")
_TYPES = frozenset({(-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1), (0, 2**32 - 1), (0, 2**64 - 1)})
"""The ranges of protobuf's integers: no bounds that a reader needs."""
_FEW = 8

Schema = dict[str, Any]


def document_schema() -> Schema:
    """The schema, draft 2020-12, of a whole `pipeline.yaml`."""
    made = _tidy(msgspec.json.schema(spec.Document))
    parts = made["$defs"]
    for name in _ONE_KEY:
        parts[name] |= {"minProperties": 1, "maxProperties": 1}
    parts["ModelEntry"]["properties"]["versions"]["default"] = {"1": {}}
    document = parts.pop("Document")
    head = {"$schema": DIALECT, "$id": "urn:triton-pipeline:schema:pipeline:1", "title": "pipeline.yaml"}
    return {**document, **head, "$defs": dict(sorted(parts.items()))}


def of(kind: type, title: str) -> Schema:
    """The schema, draft 2020-12, of what a command prints or saves as JSON."""
    body = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(kind)))  # tuples become lists, as in a file
    return {"$schema": DIALECT, "title": title, **body}


def dump(schema: Schema) -> str:
    """The text of the committed file."""
    return json.dumps(schema, indent=2) + "\n"


def _tidy(node: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Without the nulls that only stand for an absent key."""
    if isinstance(node, list | tuple):
        return [_tidy(each) for each in node]
    if not isinstance(node, dict):
        return node
    tidy = {key: _tidy(value) for key, value in node.items() if key not in {"examples", "default"}}
    tidy |= {key: _plain(node[key]) for key in ("examples", "default") if key in node}
    if all(isinstance(each, int) for each in tidy.get("enum", ["text"])):
        tidy["type"] = "integer"
    if "default" in tidy and tidy["default"] is None:
        del tidy["default"]
        choice = [each for each in tidy.get("anyOf", []) if each != {"type": "null"}]
        if len(choice) == 1:
            del tidy["anyOf"]
            return {**choice[0], **tidy}
        if choice:
            tidy["anyOf"] = choice
    return tidy


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The value as JSON reads it back: tuples are lists."""
    return json.loads(json.dumps(value))


def spec_reference(schema: Schema) -> str:
    """The reference page, as Markdown: every part of the spec with its keys."""
    lines = [
        "# The spec",
        "",
        "Every key of `pipeline.yaml`. This page is made from `schemas/pipeline.schema.json`; do not edit it.",
        "",
        "Text that could be read as a number or as true or false needs quotes. YAML's anchors, aliases, tags, merge",
        "keys and several documents in one file are refused.",
    ]
    lines += _section("pipeline.yaml", schema)
    for name, part in _in_order(schema):
        lines += _section(name, part)
    return "\n".join(lines) + "\n"


def _in_order(schema: Schema) -> list[tuple[str, Schema]]:
    """The parts in the order in which a reader meets them."""
    seen: dict[str, Schema] = {}
    queue = _references(schema["properties"])
    while queue:
        name = queue.pop(0)
        if name not in seen:
            seen[name] = schema["$defs"][name]
            queue = _references(seen[name]) + queue
    return list(seen.items())


def _references(node: object) -> list[str]:
    if isinstance(node, list):
        return [name for each in node for name in _references(each)]
    if not isinstance(node, dict):
        return []
    own = [str(node["$ref"]).rsplit("/", 1)[-1]] if "$ref" in node else []
    return own + [name for each in node.values() for name in _references(each)]


def _section(name: str, part: Schema) -> list[str]:
    lines = ["", f"## {name}", "", part["description"], ""]
    lines += ["| key | value | meaning |", "|---|---|---|"]
    for key, value in part["properties"].items():
        needed = " (required)" if key in part.get("required", []) else ""
        meaning = _cell(value.get("description", ""))
        values = list(zip(value.get("enum", ()), value.get("enumDescriptions", ()), strict=False))
        if len(values) <= _FEW:
            meaning += "".join(f" `{name}`: {text}" for name, text in values)
        if value.get("default", {}) not in ({}, []):
            meaning += f" Default: `{json.dumps(value['default'])}`."
        if "examples" in value:
            meaning += " For example: " + ", ".join(f"`{_cell(json.dumps(each))}`" for each in value["examples"]) + "."
        lines.append(f"| `{key}`{needed} | {_cell(describe(value, linked=True))} | {meaning} |")
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def describe(part: Schema, *, linked: bool = False) -> str:
    """What a value must be, in words: `an integer from 1 to 65535`; `linked` links the parts of the reference page."""
    match part:
        case {"anyOf": choice}:
            words = _either([word for each in choice for word in _forms(each, linked=linked)])
        case {"enum": values}:
            words = _either([f"`{value}`" for value in values])
        case {"$ref": target}:
            name = target.rsplit("/", 1)[-1]
            words = f"[{name}](#{name.lower().replace('.', '')})" if linked else "a mapping"
        case {"type": "array", "items": dict() as items} if linked:
            words = f"a list of {describe(items, linked=linked)}"
        case {"type": "object", "additionalProperties": dict() as values} if linked:
            words = f"a mapping of names to {describe(values, linked=linked)}"
        case {"type": "integer" | "number"}:
            words = _number(part)
        case {"type": kind}:
            words = _KINDS[kind]
        case _:
            words = "any value"
    return words


def _forms(part: Schema, *, linked: bool) -> list[str]:
    """One form of several; a list of words counts as so many forms."""
    return [f"`{value}`" for value in part["enum"]] if "enum" in part else [describe(part, linked=linked)]


def _number(part: Schema) -> str:
    words = "an integer" if part["type"] == "integer" else "a number"
    low, high, above = part.get("minimum"), part.get("maximum"), part.get("exclusiveMinimum")
    if (low, high) in _TYPES:
        low, high = (0, None) if low == 0 else (None, None)
    if above is not None:
        words += f" above {above}"
    if low is not None:
        words += f" from {low}"
    return words + (f" to {high}" if high is not None else "")


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
