"""The record of a build in a Bazel cache: what is written reads back, and what is no build's is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import action, build, lock

KEY, HEX = "ab" * 32, "cd" * 32
BUILT = build.Built(key=KEY, files={"model.pt": build.File(sha256=HEX, size=7)}, golden="ef" * 32)
FILES = {
    "model.pt": build.File(sha256=HEX, size=7),
    action.GOLDEN: build.File(sha256="ef" * 32, size=9),
    action.MANIFEST: build.File(sha256="01" * 32, size=100),
}
PINNED = lock.Version(
    source=build.Resolved(kind="config", identity={}), key=KEY, files=BUILT.files, golden=BUILT.golden
)


def test_record_reads_back() -> None:
    """What is dumped parses to the same files, whatever their order, and equal files give equal bytes."""
    text = action.dump(FILES)
    assert action.parse(text) == FILES
    assert action.dump(dict(reversed(FILES.items()))) == text


def test_record_is_bazels() -> None:
    """The bytes are those of an ActionResult: output_files are field 2, each with a path and a digest."""
    text = action.dump({"a": build.File(sha256=HEX, size=7)})
    digest = b"\x0a\x40" + HEX.encode() + b"\x10\x07"
    output = b"\x0a\x01a" + b"\x12" + bytes([len(digest)]) + digest
    assert text == b"\x12" + bytes([len(output)]) + output


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Whatever a cache sends for a record is read or refused; nothing else happens."""
    with contextlib.suppress(action.Fault):
        assert {action.MANIFEST, action.GOLDEN} <= action.parse(data).keys()


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "a/../../b",
        "a//b",
        "./a",
        "a\\b",
        "",
        "a\nb",
        "\x1b[2J",
        "x" * 300,
        "model.pt/inner",
        ".",
    ],
)
def test_name_that_leads_elsewhere(name: str) -> None:
    """Rows 12 and 64: a record names nothing outside of the entry, no file inside of another, and no controls of a
    terminal; what it names is told so that no terminal obeys it."""
    with pytest.raises(action.Fault, match="its record names") as told:
        action.parse(action.dump(FILES | {name: FILES["model.pt"]}))
    assert told.value.message.isprintable()


@pytest.mark.parametrize("lost", [action.GOLDEN, action.MANIFEST])
def test_record_without(lost: str) -> None:
    """A build has a golden and a manifest."""
    with pytest.raises(action.Fault, match=f"its record has no {lost}"):
        action.parse(action.dump({name: file for name, file in FILES.items() if name != lost}))


def test_manifests_of_other_versions() -> None:
    """Row 74: an older manifest is read; one that says more than this version understands is refused, not guessed."""
    data = msgspec.to_builtins(BUILT)
    assert action.manifest(build.canonical(BUILT)) == BUILT
    old = {name: value for name, value in data.items() if name in {"key", "files", "golden"}}
    assert action.manifest(msgspec.json.encode(old)) == BUILT
    for wrong in ({**data, "later": 1}, {**data, "golden": 7}, [data], {}):
        with pytest.raises(action.Fault, match="its manifest"):
            action.manifest(msgspec.json.encode(wrong))
    with pytest.raises(action.Fault, match="cannot be read"):
        action.manifest(b"\xff{")


def changed(**fields: object) -> Callable[[], None]:
    """A check of another manifest."""
    return lambda: action.check(KEY, msgspec.structs.replace(BUILT, **fields), FILES, PINNED)


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (changed(key=HEX), "it has the build"),
        (changed(golden=HEX), "name other files"),
        (changed(files={}), "name other files"),
        (changed(reproducible=False), "not those that the lock pins"),
        (
            lambda: action.check(KEY, BUILT, FILES, msgspec.structs.replace(PINNED, golden=HEX)),
            "not those that the lock pins",
        ),
        (lambda: action.check(KEY, BUILT, FILES, msgspec.structs.replace(PINNED, files={})), "not those"),
    ],
)
def test_entry_of_another_build(check: Callable[[], None], says: str) -> None:
    """Row 69: an entry in the place of another, or one that the lock pins otherwise, is a fault."""
    with pytest.raises(action.Fault, match=says):
        check()


def test_format_that_has_other_bytes_each_time() -> None:
    """What is not reproducible is known by its key and its golden."""
    loose = msgspec.structs.replace(BUILT, reproducible=False)
    action.check(KEY, loose, FILES, msgspec.structs.replace(PINNED, reproducible=False, files={}))
    action.check(KEY, BUILT, FILES, None)
