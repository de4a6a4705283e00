"""Plain YAML scalars: which texts are true, false, null or a decimal number. All others are text, as they are written.

YAML 1.2's JSON schema, narrowed: the `NO`, `012`, `12:30`, `0x1F`, `1_000`, dates and `.nan` of YAML 1.1 are text.
"""

from __future__ import annotations

import math
import re

MAX_DIGITS = 20
LOWEST, HIGHEST = -(2**63), 2**64 - 1
"""What 64 bits hold, with a sign or without: protobuf knows no other integers."""
MAX_FLOAT = 40

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


def value(text: str) -> str | float | bool | None:
    """What the plain scalar `text` is.

    Raises ValueError for an integer that 64 bits do not hold, for a number of more than 40 letters, or one that no
    float can hold.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text.lstrip("+-")) <= MAX_DIGITS and LOWEST <= (whole := int(text)) <= HIGHEST:
            return whole
    elif not _FLOAT.fullmatch(text):
        return text
    elif len(text) <= MAX_FLOAT and math.isfinite(number := float(text)):
        return number
    msg = f"the number {text[:24]}{'...' if len(text) > 24 else ''} is too large or too long"
    raise ValueError(msg)
