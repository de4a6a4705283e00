"""A build: its canonical text, and its key."""

from __future__ import annotations

import msgspec

from pipeline.core import build


class Pair(msgspec.Struct):
    zulu: frozenset[str]
    alpha: dict[int, str]


def test_canonical_text_is_sorted_all_through() -> None:
    """Fields, keys and members of sets are sorted, whatever the hash seed: a digest is compared between processes."""
    value = {"b": Pair(zulu=frozenset("hgfedcba"), alpha={2: "x", 10: "y"}), "a": (1, 2.5, None)}
    expected = '{"a":[1,2.5,null],"b":{"alpha":{"10":"y","2":"x"},"zulu":["a","b","c","d","e","f","g","h"]}}'
    assert build.canonical(value) == expected.encode()
