"""The parts of an artifact, each with its bytes: members of an archive, nodes of a graph, lines of a text.

Two builds that should be one are told apart by them. Where the bytes come from is known elsewhere.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from pipeline.core import messages

SHOWN = 5
"""So many differences are told of one file; the others are counted."""
_SHORT = 160
_ONNX: dict[str, tuple[messages.Field, ...]] = {
    "Named": (("name", 1, "text"),),
    "Node": (("output", 2, "text*"), ("name", 3, "text"), ("op_type", 4, "text")),
    "Tensor": (("name", 8, "text"),),
    "Graph": (
        ("node", 1, "Node*"),
        ("initializer", 5, "Tensor*"),
        ("input", 11, "Named*"),
        ("output", 12, "Named*"),
        ("value_info", 13, "Named*"),
    ),
    "Model": (("ir_version", 1, "int"), ("graph", 7, "Graph"), ("opset_import", 8, "Opset*")),
}
_OPSET: tuple[messages.Field, ...] = (("domain", 1, "text"), ("version", 2, "int"))


def differences(name: str, locked: bytes, rebuilt: bytes) -> tuple[str, ...]:
    """What differs between two contents of a file, a few lines of it: each names the part, down to a member of an
    archive, a node of a graph, or a line."""
    found = [f"{name}: {line}" for line in _differences(name, locked, rebuilt)]
    more = [f"{name}: and {len(found) - SHOWN} more differences"] if len(found) > SHOWN else []
    return (*found[:SHOWN], *more)


def _differences(name: str, locked: bytes, rebuilt: bytes) -> Iterator[str]:
    """By what a file is: parts of it where both have them, else lines, else bytes."""
    before, after = _parts(name, locked), _parts(name, rebuilt)
    if before is None or after is None:
        yield _bytes(locked, rebuilt)
        return
    alike = True
    for part in [*before, *(each for each in after if each not in before)]:
        first, second = before.get(part), after.get(part)
        if first == second:
            continue
        alike = False
        if first is None or second is None:
            yield f"{part} is {'in the rebuild alone' if first is None else 'not in the rebuild'}"
        else:
            yield f"{part} differs: {_bytes(first, second)}"
    if alike and locked != rebuilt:
        same = list(before) == list(after)
        yield f"its parts are equal, {'the bytes around them differ' if same else 'in another order'}"


def _parts(name: str, data: bytes) -> Mapping[str, bytes] | None:
    """The parts of a file that has some."""
    if data[:2] == b"PK":
        return _members(data)
    return _graph(data) if name.endswith(".onnx") else None


def _members(data: bytes) -> dict[str, bytes] | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {f"member {each.filename}": archive.read(each) for each in archive.infolist()}
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError):
        return None


def _graph(data: bytes) -> dict[str, bytes] | None:
    """The parts of an ONNX model (onnx.proto): versions, nodes by their places, weights, inputs and outputs."""
    from google.protobuf import message  # noqa: PLC0415

    model = messages.of("pipeline.onnx", "Model", **{**_ONNX, "Opset": _OPSET})()
    try:
        model.ParseFromString(data)
    except message.DecodeError:
        return None
    graph = model.graph
    found = {"ir_version": str(model.ir_version).encode()}
    found |= {f"opset of {each.domain or 'ai.onnx'}": str(each.version).encode() for each in model.opset_import}
    found |= {_node(place, each): each.SerializeToString() for place, each in enumerate(graph.node)}
    for word, kind in (("weight", "initializer"), ("input", "input"), ("output", "output"), ("value", "value_info")):
        found |= {f"{word} {each.name}": each.SerializeToString() for each in getattr(graph, kind)}
    return found


def _node(place: int, node: Any) -> str:  # noqa: ANN401 - protobuf's
    named = node.name or ", ".join(node.output)
    return f"node {place} {node.op_type} `{named}`"


def _bytes(locked: bytes, rebuilt: bytes) -> str:
    """The first line, of texts, or byte in which two contents differ."""
    first, second = _lines(locked), _lines(rebuilt)
    if first is not None and second is not None:
        for number, (one, other) in enumerate(zip_longest(first, second), 1):
            if one != other:
                return f"line {number} was {_shown(one)}, is {_shown(other)}"
    place = next((at for at, (one, other) in enumerate(zip(locked, rebuilt, strict=False)) if one != other), None)
    if place is None:
        place = min(len(locked), len(rebuilt))
    return f"{len(locked)} bytes were, {len(rebuilt)} are, from byte {place} on they differ"


def _lines(data: bytes) -> list[str] | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text.splitlines() if text.isprintable() or ("\n" in text and "\0" not in text) else None


def _shown(line: str | None) -> str:
    return "not there" if line is None else repr(line[:_SHORT])
