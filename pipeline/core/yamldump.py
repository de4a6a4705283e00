"""Plain data to YAML text that `yamltext` reads back as the same data: short values in one line, others in blocks.

Text is quoted wherever it could be taken for anything else. A `Noted` value has comments above it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from pipeline.core import scalars

WIDTH = 120
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]*")
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


class Noted(msgspec.Struct, frozen=True):
    """A value with lines of comment above its key."""

    value: Any
    notes: tuple[str, ...] = ()


def dump(data: Mapping[str, Any]) -> str:
    """The text of a mapping, its keys in their own order, with a newline at the end."""
    return "".join(f"{line}\n" for line in _mapping(data, 0))


def _mapping(data: Mapping[str, Any], indent: int) -> Iterator[str]:
    for key, value in data.items():
        given, notes = (value.value, value.notes) if isinstance(value, Noted) else (value, ())
        yield from (f"{' ' * indent}# {line}" for line in notes)
        yield from _entry(f"{' ' * indent}{_key(key)}:", given, indent + 2)


def _entry(head: str, value: Any, indent: int) -> Iterator[str]:  # noqa: ANN401 - plain data
    """A value behind its key (or dash): in the same line where it fits and has no comments, else below."""
    line = f"{head} {_flow(value)}"
    if not isinstance(value, dict | list | tuple) or (len(line) <= WIDTH and not _is_noted(value)):
        yield line
    elif isinstance(value, dict):
        yield head
        yield from _mapping(value, indent)
    else:
        yield head
        for each in value:
            yield from _item(each, indent)


def _item(value: Any, indent: int) -> Iterator[str]:  # noqa: ANN401
    """An entry of a list: a mapping that does not fit begins in the line of its dash."""
    dash = f"{' ' * indent}-"
    if isinstance(value, dict) and len(f"{dash} {_flow(value)}") > WIDTH:
        first, *rest = _mapping(value, indent + 2)
        yield f"{dash} {first[indent + 2 :]}"
        yield from rest
    else:
        yield from _entry(dash, value, indent + 2)


def _is_noted(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, Noted):
        return bool(value.notes) or _is_noted(value.value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return any(_is_noted(each) for each in inner)


def _flow(value: Any) -> str:  # noqa: ANN401
    """A value in one line."""
    match value:
        case Noted(inner):
            return _flow(inner)
        case dict():
            return f"{{{', '.join(f'{_key(key)}: {_flow(each)}' for key, each in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(_flow, value))}]"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case _:
            return _text(str(value))


def _key(key: str) -> str:
    """A key is its text, however it looks: only signs need quotes."""
    return key if _PLAIN.fullmatch(key) else _quoted(key)


def _text(text: str) -> str:
    """Text stands plain where it is read back as text."""
    try:
        is_text = _PLAIN.fullmatch(text) is not None and scalars.value(text) == text
    except ValueError:
        is_text = False
    return text if is_text else _quoted(text)


def _quoted(text: str) -> str:
    """Text in double quotes, with JSON's escapes, which are YAML's too; letters stay as they are."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))
