"""The model repository: seen as it is, changed one whole model at a time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pipeline.core import errors
from pipeline.edges import digests, files, repository
from tests import faults
from tests.edges import publisher

_, CONTENTS, MODEL, TEXT = publisher.desired("old")
_, CONTENTS_2, MODEL_2, TEXT_2 = publisher.desired("new")


class Place:
    """A repository, the entries that models come from, and the record of digests."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "model_repository"
        self.known = digests.Digests(root / "record")
        self.entries = {"old": root / "old", "new": root / "new"}
        for name, contents in (("old", CONTENTS), ("new", CONTENTS_2)):
            self.entries[name].mkdir()
            for file, data in contents.items():
                (self.entries[name] / file).write_bytes(data)

    def install(self, word: str = "old") -> None:
        """Installs the model of `old` or `new`."""
        _, _, model, text = publisher.desired(word)
        repository.forget(
            repository.install(self.folder, model, {repository.CONFIG: text}, lambda _: self.entries[word], self.known)
        )

    def files(self) -> dict[str, str]:
        """The files of the model as observed."""
        models, _ = repository.observe(self.folder, self.known)
        return models["bert"].files


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty repository."""
    return Place(tmp_path)


def test_installed_is_observed(place: Place) -> None:
    """What is installed is observed: files, digests and the claimed digest; a missing repository is an empty one."""
    assert repository.observe(place.folder, place.known) == ({}, ())
    place.install()
    models, strangers = repository.observe(place.folder, place.known)
    wanted = msgspec.structs.replace(MODEL, entries={}, folder=repository.identity(place.folder, "bert"))
    assert (models, strangers) == ({"bert": wanted}, ())
    place.install("new")
    assert place.files() == MODEL_2.files
    assert faults.leftovers(place.folder) == []


def test_a_known_config_is_not_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a config claims is read of its text, but where its bytes are known: and only of those very bytes."""
    place.install()
    seen = repository.observe(place.folder, place.known)
    assert repository.observe(place.folder, place.known, {publisher.sha256(b"other"): "sha256:other"}) == seen
    monkeypatch.setattr(files, "read", None)
    assert repository.observe(place.folder, place.known, {publisher.sha256(TEXT.encode()): str(MODEL.digest)}) == seen


def test_copies_are_real_fresh_and_readable(place: Place) -> None:
    """Files are 0644 and folders 0755 whatever the umask, with inodes of their own, and stamps that rise each time."""
    old = os.umask(0o077)
    try:
        place.install()
    finally:
        os.umask(old)
    model = place.folder / "bert/1/model.pt"
    assert {path.stat().st_mode & 0o777 for path in (place.folder, place.folder / "bert", model.parent)} == {0o755}
    assert {path.stat().st_mode & 0o777 for path in (model, place.folder / "bert/config.pbtxt")} == {0o644}
    assert model.stat().st_ino != (place.entries["old"] / "model.pt").stat().st_ino
    assert model.stat().st_nlink == 1
    first = model.stat()
    place.install()
    assert model.stat().st_ino != first.st_ino
    assert model.stat().st_ctime_ns > first.st_ctime_ns


@pytest.mark.parametrize("at", range(0, 64, 5))
def test_a_bad_byte_is_never_published(place: Place, at: int) -> None:
    """Rows 32 and 35: an entry with a flipped bit is refused with exit 4, and the old model stands."""
    place.install()
    path = place.entries["new"] / "model.pt"
    data = bytearray(path.read_bytes())
    data[at * 701 % len(data)] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(errors.Unverified) as caught:
        place.install("new")
    assert caught.value.exit_code == 4
    assert "1/model.pt" in caught.value.details[0]
    assert place.files() == MODEL.files
    assert faults.leftovers(place.folder) == []


DRIFT: dict[str, tuple[Callable[[Path], object], dict[str, str | None]]] = {
    "extra": (lambda bert: (bert / "1/notes").write_bytes(b"x"), {"1/notes": publisher.sha256(b"x")}),
    "hidden": (lambda bert: (bert / ".hidden").write_bytes(b"x"), {".hidden": publisher.sha256(b"x")}),
    "missing": (lambda bert: (bert / "1/model.pt").unlink(), {"1/model.pt": None, "1": "folder"}),
    "changed": (lambda bert: (bert / "1/model.pt").write_bytes(b"x"), {"1/model.pt": publisher.sha256(b"x")}),
    "hardlinked": (lambda bert: (bert.parent / ".other").hardlink_to(bert / "1/model.pt"), {"1/model.pt": "hardlink"}),
    "version": (lambda bert: (bert / "2").mkdir(), {"2": "folder"}),
    "fifo": (lambda bert: os.mkfifo(bert / "fifo"), {"fifo": "special"}),
    "link": (lambda bert: (bert / "passwd").symlink_to("/etc/passwd"), {"passwd": "link"}),
    "closed file": (lambda bert: (bert / "1/model.pt").chmod(0o600), {"1/model.pt": "unreadable"}),
    "closed version": (lambda bert: (bert / "1").chmod(0o700), {"1": "unreadable", "1/model.pt": None}),
    "closed model": (lambda bert: bert.chmod(0o750), {".": "unreadable"}),
    "linked version": (lambda bert: (bert / "2").symlink_to("/etc"), {"2": "link"}),
}


@pytest.mark.parametrize("drift", sorted(DRIFT))
def test_drift_is_seen_and_mended(place: Place, drift: str) -> None:
    """Row 33: whatever was changed by hand is seen under its path, and an install makes the folder right again."""
    place.install()
    change, seen = DRIFT[drift]
    change(place.folder / "bert")
    wanted = {name: value for name, value in {**MODEL.files, **seen}.items() if value is not None}
    assert place.files() == wanted
    place.install()
    assert place.files() == MODEL.files


def newest(folder: Path) -> int:
    """What Triton compares at a load: the latest time in a model's folder, or in one of its versions."""
    times = [path.lstat() for path in (folder, *folder.rglob("*"))]
    return max(max(about.st_mtime_ns, about.st_ctime_ns) for about in times)


def tomorrow(folder: Path) -> int:
    """Gives a whole folder the times of tomorrow, as one has whose machine's clock was set back since; the latest."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, ns=(0, time.time_ns() + 86_400 * 10**9))
    return newest(folder)


@pytest.mark.parametrize("trap", [newest, tomorrow])
def test_what_is_put_in_is_newer_than_what_stood_there(place: Place, trap: Callable[[Path], int]) -> None:
    """Row 37: Triton loads only what has a later time, each version by itself, and so whatever the clock says."""
    place.install()
    bert = place.folder / "bert"
    before = trap(bert)
    place.install("new")
    assert newest(bert) > before
    assert newest(bert / "1") > before


@pytest.mark.parametrize("trap", [newest, tomorrow])
def test_what_is_put_back_is_newer_too(place: Place, trap: Callable[[Path], int]) -> None:
    """An undone swap is loaded again too, in each version."""
    place.install()
    bert = place.folder / "bert"
    swap = repository.install(
        place.folder, MODEL_2, {repository.CONFIG: TEXT_2}, lambda _: place.entries["new"], place.known
    )
    before = trap(bert)
    repository.undo(swap)
    assert place.files() == MODEL.files
    assert newest(bert / "1") > before


@pytest.mark.parametrize("trap", [newest, tomorrow])
def test_renewed_is_newer(place: Place, trap: Callable[[Path], int]) -> None:
    """A folder that stays is made newer for its next load, each version too, and none of its files is read again."""
    place.install()
    bert = place.folder / "bert"
    before = trap(bert)
    weights = (bert / "1/model.pt").stat()
    identity = repository.identity(place.folder, "bert")
    repository.renew(place.folder, "bert")
    assert newest(bert / "1") > before
    assert (bert / "1/model.pt").stat() == weights
    assert repository.identity(place.folder, "bert") == identity


def test_strangers_are_left_alone(place: Place) -> None:
    """Folders without our digest, links, and folders of the same name are strangers: never replaced, never removed."""
    place.install()
    theirs = place.folder / "theirs"
    theirs.mkdir()
    (theirs / "config.pbtxt").write_text('name: "theirs"')
    (place.folder / "link").symlink_to("/etc")
    (place.folder / "README").write_text("no folder")
    (place.folder / ".dot").mkdir()
    models, strangers = repository.observe(place.folder, place.known)
    assert (list(models), strangers) == (["bert"], ("link", "theirs"))
    for name in strangers:
        with pytest.raises(errors.PipelineError, match="not made by the pipeline") as caught:
            repository.remove(place.folder, name)
        assert caught.value.hint
        wanted = msgspec.structs.replace(MODEL, name=name)
        with pytest.raises(errors.PipelineError, match="not made by the pipeline"):
            repository.install(
                place.folder, wanted, {repository.CONFIG: TEXT}, lambda _: place.entries["old"], place.known
            )
    assert (theirs / "config.pbtxt").read_text() == 'name: "theirs"'


def test_a_folder_that_lost_its_config_is_ours_again(place: Place) -> None:
    """Without its own config a folder may be replaced only as long as it has no file of anyone else's."""
    place.install()
    (place.folder / "bert/config.pbtxt").unlink()
    assert repository.observe(place.folder, place.known) == ({}, ("bert",))
    place.install()
    assert place.files() == MODEL.files
    (place.folder / "bert/config.pbtxt").write_text("overwritten")
    assert repository.observe(place.folder, place.known) == ({}, ("bert",))
    place.install()
    assert place.files() == MODEL.files
    (place.folder / "bert/config.pbtxt").unlink()
    (place.folder / "bert/notes").write_text("mine")
    with pytest.raises(errors.PipelineError, match="not made by the pipeline"):
        place.install()


def test_remove_takes_one_model(place: Place) -> None:
    """A model of ours goes whole, and one that is not there is fine."""
    place.install()
    repository.forget(repository.remove(place.folder, "bert"))
    repository.forget(repository.remove(place.folder, "bert"))
    assert list(place.folder.iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", ".dot", "a\0b"])
def test_a_name_cannot_lead_elsewhere(place: Place, name: str) -> None:
    """A name that is a path is refused before anything is touched."""
    with pytest.raises(errors.PipelineError, match="no name"):
        repository.remove(place.folder, name)


@pytest.mark.parametrize(
    "config",
    [
        'parameters: { key: "pipeline_digest" value: { string_value: "sha256:ab" } }',
        'parameters { key: "pipeline_digest", value { string_value: "sha256:ab" } }',
        'parameters [ { key: "pipeline_digest"\n  value: <string_value: "sha256:ab"> } ]',
    ],
)
def test_the_claim_is_read_in_any_form(place: Place, config: str) -> None:
    """The digest parameter is found in each form that protobuf's text format allows."""
    folder = place.folder / "bert"
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    models, _ = repository.observe(place.folder, place.known)
    assert models["bert"].digest == "sha256:ab"


def test_the_model_is_never_away(place: Place) -> None:
    """Row 35: while models are exchanged a reader finds a config of the old or the new one each time, never none."""
    place.install()
    done = threading.Event()
    seen: list[bytes | OSError] = []

    def look() -> None:
        while not done.is_set():
            try:
                seen.append((place.folder / "bert/config.pbtxt").read_bytes())
            except OSError as error:
                seen.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    for count in range(20):
        place.install("old" if count % 2 else "new")
    done.set()
    reader.join()
    # A path is walked name by name: a walk that stands in the old folder while that is removed finds no file there.
    gone = [found for found in seen if isinstance(found, OSError)]
    assert {found for found in seen if isinstance(found, bytes)} == {TEXT.encode(), TEXT_2.encode()}
    assert len(gone) <= 20
