"""Releases on the disk: whole or not there, numbered once, refused where a byte is not as it was written."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.core import errors, release
from pipeline.edges import files, folders, releases
from tests import faults
from tests.edges import releaser

HISTORY = releases.HISTORY


@pytest.fixture
def released(tmp_path: Path) -> releases.Releases:
    """The releases of a project where `a`, `b` and `c` were applied in turn."""
    made = releases.Releases(tmp_path / ".pipeline/releases")
    for word in "abc":
        releaser.commit(made, word)
    return made


def flip(path: Path, at: int) -> None:
    """Changes one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))


def damage_history(made: releases.Releases) -> None:
    """Cuts the history short."""
    path = made.folder / HISTORY
    path.write_bytes(path.read_bytes()[:-20])


class TestCommit:
    """What becomes a release, and what goes."""

    def test_the_first_one(self, tmp_path: Path) -> None:
        """Before the first there is nothing; after it the release is current, its texts as given, to the byte."""
        made = releases.Releases(tmp_path / "releases")
        assert (made.history(), made.current(), made.numbers()) == (release.History(), None, ())
        first = releaser.commit(made, "a")
        assert made.current() == made.get(1) == first
        assert first.spec == "models: {a: é}\r\n"
        assert [(entry.release, entry.digest, entry.result) for entry in made.history().entries] == [
            (1, releaser.digest("a"), "applied")
        ]

    def test_files_are_read_only(self, released: releases.Releases) -> None:
        """A release is its texts and its manifest, none of which is to be edited."""
        assert {path.name: path.stat().st_mode & 0o777 for path in (released.folder / "1").iterdir()} == {
            "spec.json": 0o444,
            "pipeline.lock": 0o444,
            "release.json": 0o444,
        }
        assert faults.leftovers(released.folder) == []

    def test_a_digest_keeps_its_number(self, released: releases.Releases) -> None:
        """Going back makes an old release current: no new number, not one byte of it written again."""
        before = (released.folder / "1").stat()
        assert releaser.commit(released, "a").number == 1
        assert (released.folder / "1").stat().st_ino == before.st_ino
        assert [entry.release for entry in released.history().entries] == [1, 2, 3, 1]
        current = released.current()
        assert current is not None
        assert current.number == 1

    def test_the_last_ones_stay(self, released: releases.Releases) -> None:
        """Row 43: the last K stay, and the current one however old it is."""
        for word in "defgh":
            releaser.commit(released, word, keep=5)
        assert released.numbers() == (4, 5, 6, 7, 8)
        releaser.commit(released, "d", keep=2)
        assert released.numbers() == (4, 7, 8)
        releaser.commit(released, "i", keep=1)
        assert released.numbers() == (9,)

    def test_a_number_is_never_given_twice(self, released: releases.Releases) -> None:
        """A release that was dropped, or removed by hand, does not free its number."""
        releaser.commit(released, "d", keep=1)
        assert releaser.commit(released, "a").number == 5
        shutil.rmtree(released.folder / "5")
        assert releaser.commit(released, "b").number == 6

    def test_a_damaged_release_is_as_good_as_none(self, released: releases.Releases) -> None:
        """A digest whose release is damaged gets a new, whole one."""
        flip(released.folder / "2/pipeline.lock", 0)
        assert releaser.commit(released, "b").number == 4
        assert released.current() == released.get(4)

    def test_what_a_killed_run_left_is_replaced(self, released: releases.Releases) -> None:
        """A release that the history never knew does not count, whatever digest it has: its number is given anew."""
        shutil.copytree(released.folder / "3", released.folder / "4")
        assert releaser.commit(released, "d").number == 4
        assert released.get(4).lock == releaser.key("d")

    def test_killed_before_the_first_entry(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A run that died between the first release and its entry has lost no history: the next one makes it anew."""
        made = releases.Releases(tmp_path / "releases")
        real = folders.publish

        def publish(aside: Path, target: Path) -> None:
            real(aside, target)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(folders, "publish", publish)
            with pytest.raises(KeyboardInterrupt):
                releaser.commit(made, "a")
        assert made.numbers() == (1,)
        assert made.current() is None
        assert releaser.commit(made, "b") == made.current() == made.get(1)

    def test_failures_are_recorded(self, released: releases.Releases) -> None:
        """A run that failed stands in the history, and changes nothing else."""
        released.record(releaser.entry("x", "failed"))
        assert [entry.result for entry in released.history().entries] == ["applied"] * 3 + ["failed"]
        assert released.current() == released.get(3)

    def test_what_fails_after_the_rename_is_undone(
        self, released: releases.Releases, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the new history stands and its last sync failed, the old one is put back."""
        before = released.history()
        real = files.write
        failures = [1]

        def write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
            real(path, data, mode=mode)
            if path.name == HISTORY and failures:
                raise errors.PipelineError("could not write" + "!" * failures.pop())

        monkeypatch.setattr(files, "write", write)
        with pytest.raises(errors.PipelineError, match="could not write!"):
            releaser.commit(released, "d")
        assert released.history() == before
        assert released.sweep() == ("4",)


class TestGet:
    """Which releases can be had."""

    def test_an_unknown_number_names_the_known(self, released: releases.Releases, tmp_path: Path) -> None:
        """The error lists what there is."""
        with pytest.raises(errors.PipelineError, match="no release 7") as caught:
            released.get(7)
        assert "1, 2, 3" in caught.value.hint
        with pytest.raises(errors.PipelineError, match="no release 1") as caught:
            releases.Releases(tmp_path / "empty").get(1)
        assert "apply" in caught.value.hint

    @pytest.mark.parametrize("name", ["spec.json", "pipeline.lock", "release.json"])
    def test_a_flipped_bit_is_refused(self, released: releases.Releases, name: str) -> None:
        """Rows 31 and 44: a bit that changed anywhere in a release refuses it; the others stay, and so the current."""
        path = released.folder / "2" / name
        whole = path.read_bytes()
        for at in range(len(whole)):
            flip(path, at)
            with pytest.raises(errors.PipelineError) as caught:
                released.get(2)
            assert "another release" in caught.value.hint
            path.write_bytes(whole)
        assert released.get(2).number == 2
        flip(path, 0)
        assert released.current() == released.get(3)
        assert released.get(1).number == 1

    @pytest.mark.parametrize("name", ["spec.json", "pipeline.lock", "release.json"])
    @pytest.mark.parametrize("harm", ["missing", "empty", "of another", "link", "folder"])
    def test_other_harm_is_refused(self, released: releases.Releases, name: str, harm: str) -> None:
        """Row 69: a file that is gone, empty, of another release or no file at all refuses the release."""
        path = released.folder / "2" / name
        path.unlink()
        match harm:
            case "empty":
                path.touch()
            case "of another":
                shutil.copy(released.folder / "1" / name, path)
            case "link":
                path.symlink_to(released.folder / "1" / name)
            case "folder":
                path.mkdir()
        with pytest.raises(errors.PipelineError):
            released.get(2)

    def test_a_whole_other_release_is_refused(self, released: releases.Releases) -> None:
        """Row 69: a release under another number than its own is not what was asked for."""
        shutil.rmtree(released.folder / "2")
        shutil.copytree(released.folder / "1", released.folder / "2")
        with pytest.raises(errors.Unverified, match="of the release 1"):
            released.get(2)


class TestDamagedHistory:
    """Rows 31 and 74: a history that is not as it was written is refused, and made anew only on demand."""

    @pytest.fixture(params=["cut", "flipped", "empty", "later", "gone", "link"])
    def damaged(self, released: releases.Releases, request: pytest.FixtureRequest, tmp_path: Path) -> releases.Releases:
        """Releases with a history that cannot be read."""
        path = released.folder / HISTORY
        text = path.read_bytes()
        match request.param:
            case "cut":
                damage_history(released)
            case "flipped":
                flip(path, text.index(b"apply"))
            case "empty":
                path.write_bytes(b"")
            case "later":
                path.write_bytes(text.replace(b'"format": 1', b'"format": 2'))
            case "gone":
                path.unlink()
            case "link":
                shutil.move(path, tmp_path / "history.json")
                path.symlink_to(tmp_path / "history.json")
        return released

    def test_it_is_refused_and_nothing_is_touched(self, damaged: releases.Releases) -> None:
        """Nothing is read out of it, written over it, or dropped because of it; releases can still be had."""
        before = faults.contents(damaged.folder)
        acts: list[Callable[[], object]] = [
            damaged.history,
            damaged.current,
            lambda: damaged.record(releaser.entry("x", "failed")),
            lambda: releaser.commit(damaged, "d", keep=1),
        ]
        for act in acts:
            with pytest.raises(errors.PipelineError) as caught:
                act()
            assert caught.value.hint
        assert damaged.sweep(keep=1) == ()
        assert faults.contents(damaged.folder) == before
        assert damaged.get(2).number == 2

    @pytest.mark.parametrize("current", [None, 2])
    def test_it_is_made_anew(self, released: releases.Releases, current: int | None) -> None:
        """The new history has the whole releases in order, the current last; the old one stays beside it."""
        damage_history(released)
        damaged = (released.folder / HISTORY).read_bytes()
        made = released.rebuild(current)
        assert made == released.history()
        assert [entry.release for entry in made.entries] == ([1, 2, 3] if current is None else [1, 3, 2])
        assert {(entry.result, entry.message, entry.start) for entry in made.entries} == {
            ("applied", "recovered", releaser.entry("a").start)
        }
        assert (released.folder / "history.json.old").read_bytes() == damaged
        assert releaser.commit(released, "d").number == 4

    def test_it_is_made_anew_where_it_is_gone(self, released: releases.Releases) -> None:
        """A lost history is recovered as well."""
        (released.folder / HISTORY).unlink()
        assert release.current(released.rebuild()) == 3

    def test_a_damaged_release_is_left_out(self, released: releases.Releases) -> None:
        """Where the current release itself is damaged, recovery goes on from a whole one, and its number stays used."""
        flip(released.folder / "3/pipeline.lock", 5)
        with pytest.raises(errors.Unverified):
            released.current()
        assert [entry.release for entry in released.rebuild().entries] == [1, 2]
        assert released.current() == released.get(2)
        assert releaser.commit(released, "d").number == 4

    def test_a_whole_history_stays(self, released: releases.Releases) -> None:
        """Recovering what is not damaged changes nothing."""
        released.record(releaser.entry("x", "failed"))
        before = faults.contents(released.folder)
        assert released.rebuild() == released.history()
        assert faults.contents(released.folder) == before


class TestSweep:
    """What killed runs left."""

    def test_only_leavings_go(self, released: releases.Releases) -> None:
        """Temporaries and a release that the history never knew go; releases and foreign files stay."""
        left = released.folder / ".pipeline-0123456789abcdef.tmp"
        shutil.copytree(released.folder / "3", left)
        shutil.copytree(released.folder / "3", released.folder / "4")
        (released.folder / "notes.txt").write_text("mine")
        assert released.sweep() == (left.name, "4")
        assert released.numbers() == (1, 2, 3)
        assert (released.folder / "notes.txt").exists()

    def test_with_a_number_the_oldest_go(self, released: releases.Releases) -> None:
        """What a run that died did not drop any more is dropped by the next."""
        releaser.commit(released, "a")
        assert released.sweep(keep=1) == ("2",)
        assert released.numbers() == (1, 3)

    def test_nothing_is_fine(self, tmp_path: Path) -> None:
        """A project without releases has nothing to sweep."""
        assert releases.Releases(tmp_path / "releases").sweep(keep=1) == ()


SCRIPT = Path(releaser.__file__)
ASIDE = (".pipeline/digests",)


def command(folder: Path) -> Sequence[str]:
    """The run that is hurt."""
    return [sys.executable, str(SCRIPT), str(folder), "e"]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the releases 2, 3 and 4, the artifacts of 1 to 4, those of the next, and some of no release."""
    folder = tmp_path_factory.mktemp("start")
    _, stored, released = releaser.open_project(folder)
    for word in "abcd":
        releaser.commit(released, word)
    for word in ("a", "b", "c", "d", "e", "stray"):
        releaser.put(stored, word)
    for word in ("stray", "d"):
        stored.quarantine(releaser.key(word))
    releaser.put(stored, "d")
    return folder


@pytest.fixture(scope="module")
def undisturbed(start: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes | str]:
    """What a run without a fault leaves."""
    end = tmp_path_factory.mktemp("undisturbed") / "end"
    shutil.copytree(start, end)
    result = faults.run(command(end))
    assert result.code == 0, result.said
    _, stored, released = releaser.open_project(end)
    assert released.numbers() == (3, 4, 5)
    assert stored.keys() == {releaser.key(word) for word in "cde"}
    return faults.contents(end, without=ASIDE)


class Check:
    """After a fault: what is current is old or new, all that is kept is whole, and the next run converges."""

    def __init__(self, undisturbed: dict[str, bytes | str], *, codes: set[int]) -> None:
        self.undisturbed, self.codes = undisturbed, codes

    def __call__(self, folder: Path, result: faults.Run) -> None:
        assert result.code in self.codes, result.said
        assert "Traceback" not in result.said
        _, stored, released = releaser.open_project(folder)
        current = released.current()
        assert current is not None
        assert current.number in {4, 5}
        assert {3, 4} <= {*released.numbers()} <= {2, 3, 4, 5}
        for number in released.numbers():
            assert stored.check(released.get(number).lock) == ()
        assert stored.entries() == stored.keys()
        again = faults.run(command(folder))
        assert again.code == 0, again.said
        assert faults.contents(folder, without=ASIDE) == self.undisturbed
        assert faults.leftovers(folder) == []


def test_kill_at_every_call_sampled(start: Path, undisturbed: dict[str, bytes | str], tmp_path: Path) -> None:
    """Row 22: killed at any changing call, the current release is old or new, and the next run converges."""
    hurt = faults.sweep(command, start, Check(undisturbed, codes={-9}), scratch=tmp_path, step=16)
    assert hurt >= 4


@pytest.mark.full
def test_kill_at_every_call(start: Path, undisturbed: dict[str, bytes | str], tmp_path: Path) -> None:
    """Row 22, complete: every changing call."""
    hurt = faults.sweep(command, start, Check(undisturbed, codes={-9}), scratch=tmp_path)
    assert hurt >= 40


FAILURES = [("fsync", "error=EIO", 7), ("rename", "error=EROFS", 4), ("write", "error=ENOSPC", 3)]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure[0])
def test_a_call_fails_once(
    failure: tuple[str, str, int], start: Path, undisturbed: dict[str, bytes | str], tmp_path: Path
) -> None:
    """Row 21: a call that fails gives exit 1 (or no harm), and leaves all old or new."""
    calls, fault, step = failure
    check = Check(undisturbed, codes={0, 1})
    assert faults.sweep(command, start, check, scratch=tmp_path, calls=calls, fault=fault, step=step) >= 1


@pytest.mark.full
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure[0])
def test_any_call_fails_once(
    failure: tuple[str, str, int], start: Path, undisturbed: dict[str, bytes | str], tmp_path: Path
) -> None:
    """Row 21, complete: every call of each kind."""
    calls, fault, _ = failure
    check = Check(undisturbed, codes={0, 1})
    assert faults.sweep(command, start, check, scratch=tmp_path, calls=calls, fault=fault) >= 4


def test_disk_full(start: Path, undisturbed: dict[str, bytes | str], tmp_path: Path) -> None:
    """Row 20: on a disk of any size the run ends with exit 1 and the old release, or works; with room it converges."""
    codes = set()
    for kilobytes in range(128, 148, 4):  # the project has just room in 128
        after, result = faults.full_disk(command, start, kilobytes, scratch=tmp_path)
        if result.code:
            assert "make room" in result.said
        codes.add(result.code)
        Check(undisturbed, codes={0, 1})(after, result)
    assert codes == {0, 1}
