"""The fields of Triton's ModelConfig: whether plain data has only those, each with a value that fits.

The descriptors of Triton's own protobuf are the authority; nothing about Triton is listed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from pipeline.core import config, descriptors, tree

Problem: TypeAlias = tuple[tree.Path, str, str]
"""A path into the data, a message, a hint."""

_KINDS: dict[descriptors.Kind, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "`true` or `false`"),
    "int": ((int,), "an integer"),
    "float": ((int, float), "a number"),
    "text": ((str,), "text"),
    "bytes": ((str,), "base64 text"),
}


def check(data: object, message: str = "ModelConfig") -> list[Problem]:
    """Everything that is wrong with `data` as fields of one of Triton's messages, with protobuf's own field names."""
    return check_as(data, getattr(config.protobuf(), message).DESCRIPTOR)


def check_as(data: object, kind: Any) -> list[Problem]:  # noqa: ANN401 - protobuf's descriptors
    """The same for any message, by its descriptor."""
    return list(_message(data, kind, ()))


def _message(data: object, kind: Any, path: tree.Path) -> Iterator[Problem]:  # noqa: ANN401
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
    if descriptors.is_map(field):
        if not isinstance(value, dict):
            yield at, "expected a mapping", ""
            return
        for key, each in value.items():
            yield from _single(key, descriptors.key(field), (*at, key), is_key=True)
            yield from _single(each, descriptors.value(field), (*at, key))
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
            yield at, f"expected a {field.enum_type.name}, found {value!a:.60}", _meant(value, known)
    else:
        yield from _scalar(value, field, at, is_key=is_key)


def _scalar(value: object, field: Any, at: tree.Path, *, is_key: bool) -> Iterator[Problem]:  # noqa: ANN401
    """A number, a text or a truth value, in the range of its type. The keys of maps are text in YAML."""
    name = descriptors.scalar(field)
    types, words = _KINDS[name]
    if is_key and name == "int" and isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value) if len(value) < 40 else value
    if not isinstance(value, types) or (isinstance(value, bool) and name != "bool"):
        yield at, f"expected {words}, found {_shown(value)}", _hint(name, value)
    elif name == "int" and isinstance(value, int):
        low, high = descriptors.integers(field)
        if not low <= value <= high:
            yield at, f"expected an integer from {low} to {high}, found {value}", ""
    elif name == "bytes" and isinstance(value, str) and not _is_base64(value):
        yield at, f"expected {words}, found {_shown(value)}", "write the bytes in base64"


def _meant(value: object, known: list[str]) -> str:
    """The value of an enum that was meant: often it lacks its prefix, as `FP32` does."""
    if not isinstance(value, str):
        return f"known here: {', '.join(known)}"
    whole = next((each for each in known if each.endswith(f"_{value.upper()[:80]}")), value)
    return tree.nearest(whole, known)


def _hint(name: str, value: object) -> str:
    """What to write instead, where that can be guessed."""
    if name == "text" and isinstance(value, int | float):
        return "put it in quotes"
    if name == "int" and isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return "write it without quotes"
    return ""


def _is_base64(text: str) -> bool:
    import base64  # noqa: PLC0415 - no field of Triton's has bytes yet
    import binascii  # noqa: PLC0415

    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True


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
