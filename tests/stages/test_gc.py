"""Gc: what no release names goes, what one names stays to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import edges
from pipeline.core import errors
from pipeline.edges import store
from pipeline.stages import gc
from tests import faults
from tests.edges import releaser

Made = tuple[edges.Project, store.Store]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A project with the store entries `a`, `b` and `c`."""
    project, stored, _ = releaser.open_project(tmp_path)
    for word in "abc":
        releaser.put(stored, word)
    return project, stored


def keys(*words: str) -> frozenset[str]:
    """The keys of words."""
    return frozenset(map(releaser.key, words))


def collect(made: Made, *words: str) -> tuple[tuple[str, ...], list[str]]:
    """What went, and what was said, where these words are in use."""
    said: list[str] = []
    return gc.gc(*made, keys(*words), say=said.append), said


def test_what_is_in_use_stays(made: Made) -> None:
    """Entries that no lock names go, with their sizes told; the others stay as they are, and nothing is left over."""
    project, stored = made
    before = faults.contents(stored.path(releaser.key("b")))
    gone, said = collect(made, "b", "never built")
    assert set(gone) == {f".pipeline/store/{releaser.key(word)}" for word in "ac"}
    assert stored.entries() == keys("b")
    assert faults.contents(stored.path(releaser.key("b"))) == before
    assert faults.leftovers(project.state) == []
    assert [line.split()[0] for line in said] == ["removed", "removed", "0.0"]


def test_sizes_are_those_of_the_files(made: Made) -> None:
    """What is told as freed is what the files had."""
    _, stored = made
    entry = stored.path(releaser.key("a"))
    expected = sum(path.stat().st_size for path in entry.iterdir())
    assert expected > 1000
    assert stored.remove(releaser.key("a")) == expected
    assert not entry.exists()
    assert stored.remove(releaser.key("a")) == 0


def test_again_there_is_nothing_to_do(made: Made) -> None:
    """A second run removes and says nothing."""
    collect(made, "b")
    assert collect(made, "b") == ((), [])


def test_a_torn_entry_goes_too(made: Made) -> None:
    """An entry that lost its manifest is no use to anyone."""
    _, stored = made
    entry = stored.path(releaser.key("a"))
    entry.chmod(0o755)
    (entry / "manifest.json").unlink()
    assert stored.keys() == keys("b", "c")
    collect(made, "b", "c")
    assert stored.entries() == keys("b", "c")


def test_quarantine_keeps_the_newest_of_what_is_in_use(made: Made) -> None:
    """Of a key in use the newest damaged entry stays for a person to look at; the rest goes, other files stay."""
    _, stored = made
    asides: dict[str, list[Path]] = {"a": [], "b": []}
    for word in "abb":
        aside = stored.quarantine(releaser.key(word))
        assert aside is not None
        asides[word].append(aside)
        releaser.put(stored, word)
    notes = stored.quarantined / "notes.txt"
    notes.write_text("mine")
    gone, _ = collect(made, "b")
    assert set(stored.quarantined.iterdir()) == {asides["b"][1], notes}
    assert f".pipeline/quarantine/{asides['b'][0].name}" in gone


def test_only_names_of_ours_are_purged(made: Made) -> None:
    """Row 66: a name that could lead elsewhere is refused, and what it names stays."""
    project, stored = made
    for name in ("..", "../store", "notes.txt", "", releaser.key("a")):
        with pytest.raises(errors.PipelineError, match="no entry in quarantine"):
            stored.purge(name)
    with pytest.raises(errors.PipelineError, match="no build key"):
        stored.remove("../releases")
    assert stored.entries() == keys("a", "b", "c")
    assert project.store.is_dir()


def test_a_link_is_removed_and_not_followed(made: Made, tmp_path: Path) -> None:
    """A link in an entry's place goes itself; what it leads to stays."""
    _, stored = made
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    stored.path(releaser.key("link")).symlink_to(outside)
    gone, _ = collect(made, "a", "b", "c")
    assert gone == (f".pipeline/store/{releaser.key('link')}",)
    assert (outside / "precious").read_text() == "mine"


def test_nothing_in_use_is_no_reason_to_remove_all(made: Made) -> None:
    """Row 66: where no lock names anything, nothing goes; an empty store is fine."""
    _, stored = made
    with pytest.raises(errors.PipelineError, match="everything in the store") as caught:
        collect(made)
    assert "export" in caught.value.hint
    assert stored.entries() == keys("a", "b", "c")


def test_an_empty_store_is_fine(tmp_path: Path) -> None:
    """Before anything is built there is nothing to do."""
    project, stored, _ = releaser.open_project(tmp_path)
    assert gc.gc(project, stored, frozenset(), say=print) == ()


def test_what_a_killed_run_left_is_swept(made: Made) -> None:
    """An entry of which the name was taken away already is swept, in the store and in quarantine."""
    _, stored = made
    stored.quarantine(releaser.key("a"))
    left = ".pipeline-0123456789abcdef.tmp"
    for folder in (stored.folder, stored.quarantined):
        (folder / left).mkdir()
        (folder / left / "model.pt").write_bytes(b"half")
    assert stored.sweep() == (left, left)
    assert stored.entries() == keys("b", "c")
