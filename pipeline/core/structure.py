"""Faults of shape: what the JSON Schema says of a spec that does not convert, in words, at the place in the text.

Imported only where something is wrong: jsonschema is slow to import. What the values mean together is not known here.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jsonschema
from jsonschema import validators

from pipeline.core import schema, spec, tree

_MOST = 1000
_MOST_OF_LIST = 100
"""A hostile document must not take seconds: so many faults are told in all, and of one list or mapping in detail."""

PATTERNS = {
    spec.MODEL_NAME: "a model's name: letters, digits, `_`, `.` and `-`, a letter or digit first, at most 128",
    spec.TENSOR_NAME: "a tensor's name: ASCII letters, digits and signs, no blank at its ends, at most 256",
    spec.AXIS_NAME: "an axis' name: small letters, digits and `_`, a letter first, at most 64",
    spec.SHA256: "a sha256 digest: 64 small hexadecimal digits",
    spec.VERSION: "a version number: 1 or above, without leading zeros (Triton ignores folders that start with 0)",
    spec.CALLABLE: "`module:function`",
    spec.FILE_NAME: "the path of a file in a version's folder: no `..`, no backslash, no control character",
    spec.BESIDE_NAME: "the path of a file beside config.pbtxt: no version's folder, no `..`, no dot in front",
}


@functools.cache
def _validator(part: str | None) -> Any:  # noqa: ANN401 - jsonschema's own class
    """The validator of the whole document, or of one part; a float is no integer, and a tuple is a list."""
    whole = schema.document_schema()
    asked = whole if part is None else {"$ref": f"#/$defs/{part}", "$defs": whole["$defs"]}
    checker = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
            "array": lambda _, value: isinstance(value, list | tuple),
        }
    )
    extend: Any = validators.extend
    return extend(jsonschema.Draft202012Validator, {"items": _items}, type_checker=checker)(asked)


def _items(validator: Any, items: Any, value: Any, _: Any) -> Iterator[Any]:  # noqa: ANN401 - jsonschema's own calls
    """The keyword `items`, which ends after so many faults of one list: a hostile list must not take seconds."""
    if validator.is_type(value, "array"):
        wrong = (error for index, each in enumerate(value) for error in validator.descend(each, items, path=index))
        yield from itertools.islice(wrong, _MOST_OF_LIST)


def faults(data: object, built: tree.Tree, *, part: str | None = None, path: tree.Path = ()) -> list[tree.Fault]:
    """What is wrong with the shape of `data`, which stands at `path` of the tree; `part` names a definition."""
    if data is None:
        return [tree.Fault(path=path, rule="wrong-type", message="expected a mapping, found nothing")]
    found = itertools.islice(_validator(part).iter_errors(data), _MOST)
    return [fault for error in found for fault in _explain(error, built, path)]


def _explain(error: Any, built: tree.Tree, base: tree.Path) -> Iterator[tree.Fault]:  # noqa: ANN401 - a jsonschema error
    path = (*base, *error.absolute_path)
    rule = error.schema
    match error.validator:
        case "additionalProperties":
            unknown = (key for key in error.instance if key not in rule["properties"])
            for index, key in enumerate(itertools.islice(unknown, _MOST)):
                hint = tree.nearest(key, rule["properties"]) if index < _MOST_OF_LIST else ""
                message = f"unknown key `{key[:80]}`"
                yield tree.Fault(path=(*path, key), rule="unknown-key", message=message, hint=hint, on_key=True)
        case "required":
            for key in rule["required"]:
                if key not in error.instance:
                    yield tree.Fault(path=path, rule="missing-key", message=f"the key `{key}` is missing", on_key=True)
        case "minProperties" | "maxProperties" if rule.get("maxProperties") == 1:
            yield tree.exactly_one(path, error.instance, list(rule["properties"]))
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            message = f"`{error.instance[:80]!a}` is not {_pattern(error.validator_value)}"
            yield tree.Fault(path=(*path, error.instance), rule="bad-name", message=message, on_key=True)
        case "anyOf":
            yield from _closest(error, built, base)
        case _:
            yield _wrong(error, built, path)


def _closest(error: Any, built: tree.Tree, base: tree.Path) -> Iterator[tree.Fault]:  # noqa: ANN401 - a jsonschema error
    """Of several forms, the faults of the one that the value has the type of; else what was expected at all."""
    groups: dict[Any, list[Any]] = {}
    for each in error.context or []:
        groups.setdefault(each.schema_path[0], []).append(each)
    fitting = [
        group
        for group in groups.values()
        if not any(not each.relative_path and each.validator in {"type", "enum"} for each in group)
    ]
    if len(fitting) == 1:
        for each in fitting[0]:
            yield from _explain(each, built, base)
    else:
        yield _wrong(error, built, (*base, *error.absolute_path))


def _wrong(error: Any, built: tree.Tree, path: tree.Path) -> tree.Fault:  # noqa: ANN401 - a jsonschema error
    """One value that is not what it must be."""
    rule = error.schema
    value = error.instance
    is_type = error.validator in {"type", "anyOf", "enum"}
    expected = schema.describe(rule)
    match error.validator:
        case "pattern":
            expected = _pattern(error.validator_value)
        case "minLength" | "minItems" | "minProperties":
            expected = f"at least {error.validator_value} {'letter' if error.validator == 'minLength' else 'entry'}"
        case "maxLength" | "maxItems" | "maxProperties":
            expected = f"at most {error.validator_value} {'letters' if error.validator == 'maxLength' else 'entries'}"
    mark = built.values.get(path)
    message = f"expected {expected}, found {_found(value, mark.text if mark else None)}"
    hint = _hint(rule, value, mark.text if mark else None) if is_type else ""
    return tree.Fault(
        path=path, rule="wrong-type" if error.validator == "type" else "wrong-value", message=message, hint=hint
    )


def _pattern(pattern: str) -> str:
    return PATTERNS.get(pattern, f"text that matches {pattern.removesuffix('(?!' + chr(92) + 'n)')}")


def _found(value: object, text: str | None) -> str:
    match value:
        case None:
            return "nothing"
        case bool() | int() | float():
            return f"{str(value).lower() if text is None else text}"
        case str():
            return f"the text {value[:60]!a}"
        case dict():
            return "a mapping"
        case _:
            return f"a list of {len(value)}" if isinstance(value, list | tuple) else "something else"


def _hint(rule: Any, value: object, text: str | None) -> str:  # noqa: ANN401 - a schema
    """What to write instead, where that can be guessed."""
    forms = rule.get("anyOf", [rule])
    kinds = {form.get("type") for form in forms}
    words = [str(word) for form in forms for word in form.get("enum", [])]
    if isinstance(value, float) and "integer" in kinds:
        return "write it without a point or an exponent"
    if not isinstance(value, str | list | dict) and value is not None and "string" in kinds:
        return f'put it in quotes: "{text if text is not None else value}"'
    if "boolean" in kinds and isinstance(value, str):
        return "write true or false"
    if kinds & {"integer", "number"} and isinstance(value, str) and any(letter in "0123456789" for letter in value):
        return "write a plain decimal number, without quotes, leading zeros, `_`, `:` or `0x`"
    if isinstance(value, str) and words:
        return tree.nearest(value, words).partition(" known here")[0]
    return ""
