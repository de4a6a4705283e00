"""What protobuf's descriptors say of a message's fields: maps, numbers with their ranges. Nothing here knows Triton."""

from __future__ import annotations

from typing import Any, Literal

Kind = Literal["bool", "int", "float", "text", "bytes"]

_PACKAGE = "inference."


def named(kind: Any) -> str:  # noqa: ANN401 - protobuf's descriptors, which have no types
    """The name of a message or an enum, without Triton's package: `ModelWarmup.Input`."""
    return str(kind.full_name).removeprefix(_PACKAGE)


def is_map(field: Any) -> bool:  # noqa: ANN401
    """Whether a field is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def key(field: Any) -> Any:  # noqa: ANN401
    """The descriptor of a map's keys."""
    return field.message_type.fields_by_name["key"]


def value(field: Any) -> Any:  # noqa: ANN401
    """The descriptor of a map's values; of any other field its own."""
    return field.message_type.fields_by_name["value"] if is_map(field) else field


def scalar(field: Any) -> Kind:  # noqa: ANN401
    """What a field holds that is neither a message nor of an enum."""
    if field.cpp_type == field.CPPTYPE_BOOL:
        return "bool"
    if field.cpp_type in {field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE}:
        return "float"
    if field.cpp_type == field.CPPTYPE_STRING:
        return "bytes" if field.type == field.TYPE_BYTES else "text"
    return "int"


def integers(field: Any) -> tuple[int, int]:  # noqa: ANN401
    """The lowest and the highest integer that a field holds."""
    bits = 32 if field.cpp_type in {field.CPPTYPE_INT32, field.CPPTYPE_UINT32} else 64
    if field.cpp_type in {field.CPPTYPE_UINT32, field.CPPTYPE_UINT64}:
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
