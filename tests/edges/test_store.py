"""The store: an entry is whole or not there, and never changes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipeline.core import errors
from pipeline.edges import digests, files, store
from tests.edges import publisher

BUILT, CONTENTS = publisher.desired("old")[:2]


@pytest.fixture
def stored(tmp_path: Path) -> store.Store:
    """A store with the entry `old`."""
    made = store.Store(tmp_path / ".pipeline/store", digests.Digests(tmp_path / "record"))
    put(made)
    return made


def put(made: store.Store) -> None:
    """Publishes the entry `old`."""
    with made.stage() as staged:
        for name, data in CONTENTS.items():
            (staged / name).write_bytes(data)
        made.publish(BUILT.key, staged, BUILT)


def flip(path: Path, at: int) -> None:
    """Changes one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))


def test_an_entry_is_whole_and_read_only(stored: store.Store) -> None:
    """What was published is found again, agrees with its manifest, and is read-only."""
    assert stored.keys() == {BUILT.key}
    assert stored.get(BUILT.key) == BUILT
    assert stored.check(BUILT.key) == ()
    entry = stored.path(BUILT.key)
    assert {path.name: path.stat().st_mode & 0o777 for path in (entry, *entry.iterdir())} == {
        BUILT.key: 0o555,
        "model.pt": 0o444,
        "golden.safetensors": 0o444,
        "manifest.json": 0o444,
    }
    assert [path.name for path in stored.folder.iterdir()] == [BUILT.key]


def test_only_the_keys_that_are_asked_for_are_looked_at(stored: store.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the keys asked for those with a whole entry come back; of other entries not even the manifest is read."""
    assert stored.whole([BUILT.key, "0" * 64]) == {BUILT.key}
    monkeypatch.setattr(files, "read", None)
    assert stored.whole([]) == frozenset()


def test_a_key_that_is_there_is_kept(stored: store.Store) -> None:
    """Publishing a key again leaves the entry as it was, to the inode."""
    before = stored.path(BUILT.key).stat()
    put(stored)
    after = stored.path(BUILT.key).stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


def test_a_build_that_is_not_what_was_checked_is_refused(tmp_path: Path) -> None:
    """A staged file that differs from the manifest, is missing or is extra never gets in: exit 4."""
    made = store.Store(tmp_path / "store", digests.Digests(tmp_path / "record"))
    for contents in ({**CONTENTS, "model.pt": b"x"}, {"model.pt": CONTENTS["model.pt"]}, {**CONTENTS, "extra": b""}):
        with made.stage() as staged:
            for name, data in contents.items():
                (staged / name).write_bytes(data)
            with pytest.raises(errors.Unverified) as caught:
                made.publish(BUILT.key, staged, BUILT)
        assert [finding.rule for finding in caught.value.findings] == ["store-digest"]
        assert list(made.folder.iterdir()) == []


@pytest.mark.parametrize("name", ["model.pt", "golden.safetensors"])
@pytest.mark.parametrize("at", range(0, 64, 4))
def test_a_flipped_bit_is_found_and_quarantined(stored: store.Store, name: str, at: int) -> None:
    """Row 32: a bit that changed in any place is a finding, the entry leaves the store, and its key is free."""
    entry = stored.path(BUILT.key)
    flip(entry / name, at * 1021)
    found = stored.check(BUILT.key)
    assert [finding.rule for finding in found] == ["store-digest"]
    assert str(entry / name) in found[0].message
    assert stored.keys() == frozenset()
    assert [path.name.partition(".")[0] for path in stored.quarantined.iterdir()] == [BUILT.key]
    put(stored)
    assert stored.check(BUILT.key) == ()


@pytest.mark.parametrize("harm", ["truncated", "empty", "garbage", "other key", "missing file", "no golden", "link"])
def test_a_torn_entry_is_not_there(stored: store.Store, harm: str, tmp_path: Path) -> None:
    """Row 31: an entry with a torn manifest or without a file is not there, and publishing makes it whole."""
    entry = stored.path(BUILT.key)
    entry.chmod(0o755)
    manifest = entry / "manifest.json"
    text = manifest.read_bytes()
    manifest.chmod(0o644)
    match harm:
        case "truncated":
            manifest.write_bytes(text[: len(text) // 2])
        case "empty":
            manifest.write_bytes(b"")
        case "garbage":
            manifest.write_bytes(b"\xff{")
        case "other key":
            manifest.write_bytes(msgspec.json.encode(msgspec.structs.replace(BUILT, key="0" * 64)))
        case "missing file":
            (entry / "model.pt").unlink()
        case "no golden":
            (entry / "golden.safetensors").unlink()
        case "link":
            manifest.rename(tmp_path / "manifest.json")
            manifest.symlink_to(tmp_path / "manifest.json")
    assert stored.get(BUILT.key) is None
    assert stored.keys() == frozenset()
    put(stored)
    assert stored.check(BUILT.key) == ()


def test_a_key_cannot_lead_elsewhere(stored: store.Store) -> None:
    """Only 64 hexadecimal digits are a key."""
    for key in ("..", "../x", "", "A" * 64, "a" * 64 + "\n"):
        with pytest.raises(errors.PipelineError, match="no build key"):
            stored.path(key)


def test_what_killed_runs_left_is_swept(stored: store.Store) -> None:
    """A stage of a dead run is swept, entries are not."""
    left = stored.folder / ".pipeline-0123456789abcdef.tmp"
    left.mkdir()
    (left / "model.pt").write_bytes(b"half")
    assert stored.sweep() == (left.name,)
    assert stored.keys() == {BUILT.key}
