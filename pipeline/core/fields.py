"""The fields of Triton's ModelConfig: whether plain data has only those, each with a value that fits.

The descriptors of Triton's own protobuf are the authority; nothing about Triton is listed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from pipeline.core import config, tree

Problem: TypeAlias = tuple[tree.Path, str, str]
"""A path into the data, a message, a hint."""

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "`true` or `false`"),
    "int": ((int,), "an integer"),
    "float": ((int, float), "a number"),
    "text": ((str,), "text"),
}


def check(data: dict[str, Any]) -> list[Problem]:
    """Everything that is wrong with `data` as fields of a ModelConfig, with protobuf's own field names."""
    return list(_message(data, config.protobuf().ModelConfig.DESCRIPTOR, ()))


def _message(data: object, kind: Any, path: tree.Path) -> Iterator[Problem]:  # noqa: ANN401 - protobuf's descriptors
    fields = kind.fields_by_name
    if not isinstance(data, dict):
        yield path, f"expected a mapping with fields of {kind.name}", f"known here: {', '.join(fields)}"
        return
    chosen: dict[str, str] = {}
    for name, value in data.items():
        at = (*path, name)
        field = fields.get(name)
        if field is None:
            yield at, f"{kind.name} has no field `{name[:80]}`", tree.nearest(name, fields)
            continue
        yield from _field(value, field, at)
        if field.containing_oneof is not None:
            first = chosen.setdefault(field.containing_oneof.name, name)
            if first != name:
                yield at, f"only one of `{first}` and `{name}` can be set", "remove one of the two"


def _field(value: object, field: Any, at: tree.Path) -> Iterator[Problem]:  # noqa: ANN401
    """One field: a map, a list, or a single value."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if not isinstance(value, dict):
            yield at, "expected a mapping", ""
            return
        for key, each in value.items():
            yield from _single(key, field.message_type.fields_by_name["key"], (*at, key), is_key=True)
            yield from _single(each, field.message_type.fields_by_name["value"], (*at, key))
    elif not field.is_repeated:
        yield from _single(value, field, at)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _single(each, field, (*at, index))
    else:
        yield at, "expected a list", ""


def _single(value: object, field: Any, at: tree.Path, *, is_key: bool = False) -> Iterator[Problem]:  # noqa: ANN401
    if field.message_type is not None:
        yield from _message(value, field.message_type, at)
    elif field.enum_type is not None:
        known = [each.name for each in field.enum_type.values]
        if value not in known:
            hint = tree.nearest(value, known) if isinstance(value, str) else f"known here: {', '.join(known)}"
            yield at, f"expected a {field.enum_type.name}, found {value!a:.60}", hint
    else:
        yield from _scalar(value, field, at, is_key=is_key)


def _scalar(value: object, field: Any, at: tree.Path, *, is_key: bool) -> Iterator[Problem]:  # noqa: ANN401
    """A number, a text or a truth value, in the range of its type. The keys of maps are text in YAML."""
    name, bits = _type(field)
    types, words = _KINDS[name]
    if (
        is_key
        and name == "int"
        and isinstance(value, str)
        and value.isascii()
        and value.isdecimal()
        and len(value) < 20
    ):
        value = int(value)
    if not isinstance(value, types) or (isinstance(value, bool) and name != "bool"):
        hint = "put it in quotes" if name == "text" and isinstance(value, int | float) else ""
        yield at, f"expected {words}, found {_shown(value)}", hint
    elif name == "int" and isinstance(value, int):
        low, high = (0, 2**bits) if field.cpp_type in _unsigned(field) else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        if not low <= value < high:
            yield at, f"expected an integer from {low} to {high - 1}, found {value}", ""


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f"the text {value[:60]!a}"
        case _:
            return str(value).lower()


def _unsigned(field: Any) -> tuple[int, int]:  # noqa: ANN401
    return field.CPPTYPE_UINT32, field.CPPTYPE_UINT64


def _type(field: Any) -> tuple[str, int]:  # noqa: ANN401
    """What a scalar field holds, and of how many bits."""
    if field.cpp_type == field.CPPTYPE_BOOL:
        return "bool", 1
    if field.cpp_type in {field.CPPTYPE_INT32, field.CPPTYPE_UINT32}:
        return "int", 32
    if field.cpp_type in {field.CPPTYPE_INT64, field.CPPTYPE_UINT64}:
        return "int", 64
    if field.cpp_type in {field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE}:
        return "float", 64
    return "text", 0
