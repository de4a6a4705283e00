"""Protobuf messages of others, described in a few lines: the fields that are used here, and none besides.

What a message has beside them is kept as it is, so a message that was read gives the bytes that it came from.
"""

from __future__ import annotations

import functools
from typing import Any

Field = tuple[str, int, str]
"""A field: its name, its number, and `text`, `bytes`, `int` or the name of another message; `*` after it for many."""


def of(package: str, name: str, **fields: tuple[Field, ...]) -> Any:  # noqa: ANN401 - protobuf makes the class
    """The class of a message. `fields` has those of every message that it is made of, inner ones first."""
    return _of(package, name, tuple(fields.items()))


@functools.cache
def _of(package: str, name: str, fields: tuple[tuple[str, tuple[Field, ...]], ...]) -> Any:  # noqa: ANN401
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415 - not for every command

    known = descriptor_pb2.FieldDescriptorProto
    plain = {"text": known.TYPE_STRING, "bytes": known.TYPE_BYTES, "int": known.TYPE_INT64}
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for message, parts in fields:
        made = file.message_type.add(name=message)
        for label, number, kind in parts:
            inner = kind.rstrip("*")
            made.field.add(
                name=label,
                number=number,
                label=known.LABEL_REPEATED if kind.endswith("*") else known.LABEL_OPTIONAL,
                type=plain.get(inner, known.TYPE_MESSAGE),
                type_name=None if inner in plain else f".{package}.{inner}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
