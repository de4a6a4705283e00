"""The `parameters` of a config as text, read as the parsers of Triton's C++ backends read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.triton_backends import refusals

_BOOLEANS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
# What std::stoi reads: blanks, a sign, digits; whatever follows the digits is ignored.
_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")


def values(config: Mapping[str, Any]) -> dict[str, str]:
    """Every parameter of a config, as text."""
    return {key: str(value.get("string_value", "")) for key, value in config.get("parameters", {}).items()}


def boolean(found: Mapping[str, str], key: str) -> bool | None:
    """A parameter that is true or false; None where it is not set. Raises Refused for any other word."""
    text = found.get(key)
    if text is None:
        return None
    if text.lower() not in _BOOLEANS:
        raise refusals.Refused(refusals.INVALID, f"failed to convert '{text}' to boolean")
    return _BOOLEANS[text.lower()]


def integer(found: Mapping[str, str], key: str) -> int | None:
    """A parameter that is an integer; None where it is not set. Raises Refused for any other word."""
    text = found.get(key)
    if text is None:
        return None
    match = _INTEGER.match(text)
    if match is None or not -(2**31) <= int(match[1]) < 2**31:
        raise refusals.Refused(refusals.INVALID, f"failed to convert '{text}' to integral number")
    return int(match[1])


def count(found: Mapping[str, str], key: str) -> int | None:
    """A parameter that is a count: below 1 it is no wish."""
    number = integer(found, key)
    return number if number is not None and number > 0 else None
