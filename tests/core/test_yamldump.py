"""YAML that is written is read back as the same data, whatever is in it."""

from __future__ import annotations

from typing import Any

import hypothesis
from hypothesis import strategies as st

from pipeline.core import yamldump, yamltext

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
KEYS = TEXTS | st.sampled_from(["1", "null", "<<", "true", "-", "? a", "a: b", "#", "1.0"])
SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.sampled_from(
        ["no", "012", "1e5", "~", "null", "true", "=", "12:30", "-", "a #b", "{", "[x]", "&a", "!t", "1_0"]
    )
)
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)


@hypothesis.given(st.dictionaries(KEYS, DATA, max_size=5))
@hypothesis.settings(max_examples=400, deadline=None)
def test_any_data_reads_back(data: dict[str, Any]) -> None:
    """Keys and values of any kind come back as they were, in their order."""
    built = yamltext.load((yamldump.dump(data) or "{}").encode(), file="f")
    assert built.faults == []
    assert built.data == data
    assert list(built.data) == list(data)


def test_the_form() -> None:
    """Short values stand in one line, long ones in blocks, comments above what they are about."""
    data = {
        "version": 1,
        "long": {f"key{number}": ["some text"] * 3 for number in range(3)},
        "list": [{"name": f"entry {number}", "values": list(range(40))} for number in range(2)],
        "noted": {"a": yamldump.Noted({"b": 1}, ("why", "it is so")), "c": 2},
    }
    text = ", ".join(['"some text"'] * 3)
    assert yamldump.dump(data).splitlines() == [
        "version: 1",
        "long:",
        *(f"  key{number}: [{text}]" for number in range(3)),
        "list:",
        *(
            line
            for number in range(2)
            for line in (f'  - name: "entry {number}"', "    values:", *(f"      - {n}" for n in range(40)))
        ),
        "noted:",
        "  # why",
        "  # it is so",
        "  a: {b: 1}",
        "  c: 2",
    ]
