"""Edits of a YAML text: the value changes, and not one byte around it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import errors, tree, yamledit, yamltext

TEXT = """\
# öffentlich 🚀 — a comment with letters of every width
version: 1


target:   # the server
  image:   nvcr.io/nvidia/tritonserver:23.08-py3    # why this one
  list: [a, 'b',  "c" ]   # three
models:
  m: {wheel: {name: n, version: "0.1.0", sha256: aa}, more:   x}  # in a line
  # not a value: 0.1.0
  k:
    version: 0.1.0\t# pinned
    text: |
      0.1.0
"""

CASES: list[tuple[tree.Path, str, str, str]] = [
    (("target", "image"), "a/b:2", "tritonserver:23.08-py3 ", ""),
    (("target", "list", 1), "other", "'b'", "'other'"),
    (("target", "list", 2), "other", '"c"', '"other"'),
    (("models", "m", "wheel", "version"), "0.2.0", '"0.1.0"', '"0.2.0"'),
    (("models", "m", "wheel", "sha256"), "bb", "sha256: aa}", "sha256: bb}"),
    (("models", "m", "more"), "y", "more:   x}", "more:   y}"),
    (("models", "k", "version"), "0.2.0", "version: 0.1.0\t#", "version: 0.2.0\t#"),
    (("models", "k", "version"), "1.10", "version: 0.1.0\t#", 'version: "1.10"\t#'),
]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize(("path", "value", "old", "new"), CASES)
def test_one_value(path: tree.Path, value: str, old: str, new: str, ends: str) -> None:
    """The value is replaced where it stands, in its own quotes, and quoted where it would be read as a number."""
    text = TEXT.replace("\n", ends)
    expected = text.replace(old, new) if new else text.replace("nvcr.io/nvidia/tritonserver:23.08-py3", value)
    assert text.count(old) == 1
    assert yamledit.replace(text.encode(), {path: value}, file="f") == expected.encode()


def test_several_values() -> None:
    """Values of other lengths do not shift one another."""
    new = {path: value for path, value, _, _ in CASES[:-1]}
    edited = yamledit.replace(TEXT.encode(), new, file="f")
    data = yamltext.load(edited, file="f").data
    assert data["target"] == {"image": "a/b:2", "list": ["a", "other", "other"]}
    assert data["models"]["m"] == {"wheel": {"name": "n", "version": "0.2.0", "sha256": "bb"}, "more": "y"}
    assert [line.partition("#")[2] for line in edited.decode().splitlines()] == [
        line.partition("#")[2] for line in TEXT.splitlines()
    ]


def test_comments_are_known() -> None:
    """A comment behind a value is told with it; one behind something else is not its own."""
    found = {path: span.comment for path, span in yamledit.spans(TEXT).items()}
    assert found["target", "image"] == "why this one"
    assert found["models", "k", "version"] == "pinned"
    assert found["models", "m", "wheel", "version"] == ""
    assert found["version",] == ""


@pytest.mark.parametrize("path", [("target",), ("none",), ("models", "k", "text")])
def test_what_cannot_be_edited(path: tree.Path) -> None:
    """A mapping, what is not there and a block of text are refused."""
    with pytest.raises(errors.PipelineError, match="no single value"):
        yamledit.replace(TEXT.encode(), {path: "x"}, file="f")


@given(st.text(min_size=1, max_size=20))
def test_any_value(value: str) -> None:
    """Whatever is written is read back as that text, and nothing else has moved; or it is refused."""
    path = ("target", "image")
    try:
        edited = yamledit.replace(TEXT.encode(), {path: value}, file="f")
    except (errors.PipelineError, UnicodeEncodeError):
        return
    before, after = (yamltext.load(each, file="f").data for each in (TEXT.encode(), edited))
    assert after["target"].pop("image") == value
    before["target"].pop("image")
    assert after == before
