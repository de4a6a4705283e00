"""Paths as a spec writes them: relative to it, and never out of its folder."""

from __future__ import annotations

_CONTROL = "".join(map(chr, [*range(32), 127]))


def outside(text: str) -> str:
    """What is wrong with a path that must stay inside the project; empty where nothing is."""
    if not text.strip():
        return "is empty"
    if any(letter in _CONTROL for letter in text):
        return "has a control character"
    if text.startswith(("/", "~", "\\")) or text[1:2] == ":":
        return "is absolute"
    if "\\" in text:
        return "has a backslash"
    if ".." in text.split("/"):
        return "leads outside by `..`"
    return ""
