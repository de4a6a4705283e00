"""Edits single values of a YAML text in place: every comment, blank and quote around them stays as it is.

The text was read by `yamltext` before, so it is one document without anchors or tags. What the values mean is not known
here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from pipeline.core import errors, tree, yamltext

_HINT = "Edit it by hand, and run `validate`."


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Where a scalar stands: its first character and the one behind it, its quote (or nothing), and the comment behind
    it in its line."""

    start: int
    end: int
    quote: str
    comment: str


def replace(text: bytes, new: Mapping[tree.Path, str], *, file: str) -> bytes:
    """The text with other values at some paths, each a scalar that is there. Everything else stays as it is, byte by
    byte, and means what it meant.

    Raises PipelineError where a value cannot be set so.
    """
    decoded = text.decode()
    known = spans(decoded)
    lacking = [path for path in new if path not in known]
    if lacking:
        msg = f"{file} has no single value at {tree.dotted(lacking[0])} that could be edited"
        raise errors.PipelineError(msg, hint=_HINT)
    wanted = _set(yamltext.load(text, file=file).data, new)
    for quoted in (False, True):  # a plain version such as 1.10 would be a number
        edited = _edited(decoded, known, new, quoted=quoted).encode()
        again = yamltext.load(edited, file=file)
        if again.complete and not again.faults and again.data == wanted:
            return edited
    msg = f"{file} cannot be edited in place at {', '.join(map(tree.dotted, new))}"
    raise errors.PipelineError(msg, hint=_HINT)


def spans(text: str) -> dict[tree.Path, Span]:
    """Where each scalar value of a document stands, by its path."""
    found: dict[tree.Path, Span] = {}
    node = yaml.compose(text, Loader=yaml.CSafeLoader)
    ahead: list[tuple[tree.Path, Any]] = [((), node)]
    while ahead:
        path, node = ahead.pop()
        match node:
            case yaml.MappingNode():
                ahead += [((*path, key.value), value) for key, value in node.value]
            case yaml.SequenceNode():
                ahead += [((*path, place), value) for place, value in enumerate(node.value)]
            case yaml.ScalarNode() if node.style not in {"|", ">"}:
                start, end = node.start_mark.index, node.end_mark.index
                found[path] = Span(start=start, end=end, quote=node.style or "", comment=_comment(text, end))
            case _:
                pass
    return found


def _comment(text: str, end: int) -> str:
    """What a comment behind a value says, where nothing else stands between."""
    rest = text[end:].partition("\n")[0].strip()
    return rest.removeprefix("#").strip() if rest.startswith("#") else ""


def _set(data: Any, new: Mapping[tree.Path, str]) -> Any:  # noqa: ANN401 - what YAML has
    """The data with other values."""
    made = copy.deepcopy(data)
    for path, value in new.items():
        place = made
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
    return made


def _edited(text: str, known: Mapping[tree.Path, Span], new: Mapping[tree.Path, str], *, quoted: bool) -> str:
    """From the last to the first, so that the places of the others stay true."""
    for path in sorted(new, key=lambda path: known[path].start, reverse=True):
        span, value = known[path], new[path]
        quote = span.quote or ('"' if quoted else "")
        text = f"{text[: span.start]}{quote}{value}{quote}{text[span.end :]}"
    return text
