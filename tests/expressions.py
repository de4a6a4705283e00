"""GitHub's expressions, as far as our workflows use them, and the question which jobs of a workflow run.

Operators, loose comparison of texts and the implicit `success()` are as docs.github.com says under "Evaluate
expressions" and "Using conditions". A name that nobody has told is an error here; GitHub would take it for nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(&&|\|\||==|!=|[!(),])|([A-Za-z_][\w.-]*))")
_STATUS = re.compile(r"\b(?:success|failure|always|cancelled)\(\)")
Functions = Mapping[str, Callable[..., Any]]


def evaluate(text: str, names: Mapping[str, Any], functions: Functions) -> Any:
    """The value of an expression, without its `${{ }}`. Raises KeyError for a name or function that is not known."""
    tokens = list(_tokens(text))
    value, rest = _either(tokens, names, {"contains": _contains, "fromJSON": json.loads, **functions})
    if rest:
        msg = f"{text!r}: {rest[0]!r} was not expected"
        raise ValueError(msg)
    return value


def bare(text: str) -> str:
    """A condition without its `${{ }}`."""
    return text.strip().removeprefix("${{").removesuffix("}}").strip()


def condition(text: str | None) -> str:
    """What an `if:` means: without a word about how things went, it holds only where all went well."""
    plain = bare(text or "success()")
    return plain if _STATUS.search(plain) else f"success() && ({plain})"


def status(*, good: bool, bad: bool) -> Functions:
    """The functions that say how things went before."""
    return {"success": lambda: good, "failure": lambda: bad, "always": lambda: True, "cancelled": lambda: False}


def results(
    workflow: Mapping[str, Any], names: Mapping[str, Any], outcomes: Mapping[str, str], outputs: Mapping[str, str]
) -> dict[str, str]:
    """How each job of a workflow ends: `skipped`, or what `outcomes` says, by default `success`.

    `outputs` are those of jobs, by their names in an expression.
    """
    ended: dict[str, str] = {}
    for name, job in workflow["jobs"].items():
        needed = _needed(workflow, name)
        told = {f"needs.{each}.result": ended[each] for each in needed}
        went = [ended[each] for each in needed]
        words = status(good=all(each == "success" for each in went), bad="failure" in went)
        runs = evaluate(condition(job.get("if")), {**names, **outputs, **told}, words)
        ended[name] = outcomes.get(name, "success") if runs else "skipped"
    return ended


def _needed(workflow: Mapping[str, Any], name: str) -> list[str]:
    """All jobs that a job waits for, through others too."""
    needs = workflow["jobs"][name].get("needs", [])
    direct = [needs] if isinstance(needs, str) else needs
    return list(dict.fromkeys(far for each in direct for far in (*_needed(workflow, each), each)))


def _tokens(text: str) -> Iterator[str]:
    place = 0
    while place < len(text.rstrip()):
        found = _TOKEN.match(text, place)
        if found is None:
            msg = f"{text[place:]!r} is not understood"
            raise ValueError(msg)
        yield found[0].strip()
        place = found.end()


def _either(tokens: list[str], names: Mapping[str, Any], functions: Functions) -> tuple[Any, list[str]]:
    """Terms with `||` and `&&` between them; the second binds more strongly, and both give one of their terms."""
    value, tokens = _compared(tokens, names, functions)
    while tokens[:1] == ["&&"]:
        other, tokens = _compared(tokens[1:], names, functions)
        value = value and other
    if tokens[:1] == ["||"]:
        other, tokens = _either(tokens[1:], names, functions)
        value = value or other
    return value, tokens


def _compared(tokens: list[str], names: Mapping[str, Any], functions: Functions) -> tuple[Any, list[str]]:
    value, tokens = _single(tokens, names, functions)
    if tokens[:1] in (["=="], ["!="]):
        other, rest = _single(tokens[1:], names, functions)
        return (_folded(value) == _folded(other)) == (tokens[0] == "=="), rest
    return value, tokens


def _single(tokens: list[str], names: Mapping[str, Any], functions: Functions) -> tuple[Any, list[str]]:
    first, rest = tokens[0], tokens[1:]
    if first == "!":
        value, rest = _single(rest, names, functions)
        return not value, rest
    if first == "(":
        value, rest = _either(rest, names, functions)
        return value, _after(rest, ")")
    if first.startswith("'"):
        return first[1:-1].replace("''", "'"), rest
    if rest[:1] == ["("]:
        given, rest = [], rest[1:]
        while rest[0] != ")":
            value, rest = _either(rest, names, functions)
            given.append(value)
            rest = rest[1:] if rest[0] == "," else rest
        return functions[first](*given), rest[1:]
    return {"true": True, "false": False}[first] if first in {"true", "false"} else names[first], rest


def _after(tokens: list[str], word: str) -> list[str]:
    if tokens[:1] != [word]:
        msg = f"{word!r} was expected before {tokens[:1]}"
        raise ValueError(msg)
    return tokens[1:]


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _contains(where: Any, what: Any) -> bool:
    return _folded(what) in ([_folded(each) for each in where] if isinstance(where, list) else _folded(where))
