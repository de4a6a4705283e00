"""Files, folders and digests: whole or untouched, never followed, never trusted too early."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from pipeline.core import errors
from pipeline.edges import digests, files, folders

SECOND = 1_000_000_000


def sha256(data: bytes) -> str:
    """The digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def test_write_replaces_and_makes_folders(tmp_path: Path) -> None:
    """A write makes folders, replaces old bytes, has the asked mode whatever the umask, and leaves nothing else."""
    path = tmp_path / "a/b/file"
    old = os.umask(0o077)
    try:
        files.write(path, b"old")
        files.write(path, b"new")
    finally:
        os.umask(old)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o755
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_write_through_a_link_replaces_the_link(tmp_path: Path) -> None:
    """A link in the file's place is replaced; what it led to is not written."""
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere")
    files.write(tmp_path / "file", b"ours")
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"
    assert not (tmp_path / "file").is_symlink()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed fsync the old bytes stand, fsync was called once, and the error says what to do."""
    path = tmp_path / "file"
    files.write(path, b"old")
    calls = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(errors.PipelineError, match="Input/output error") as caught:
        files.write(path, b"new")
    assert "Check the disk" in caught.value.hint
    assert len(calls) == 1
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"file": b"old"}


def test_read_refuses_what_is_no_plain_file(tmp_path: Path) -> None:
    """A missing file is None; a link, a fifo, a folder and too many bytes are refused at once."""
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    assert files.read(tmp_path / "nothing", 5) is None
    assert files.read(tmp_path / "file", 5) == b"12345"
    for name in ("link", "fifo", "."):
        with pytest.raises(errors.PipelineError):
            files.read(tmp_path / name, 5)
    with pytest.raises(errors.PipelineError, match="larger than 4 bytes"):
        files.read(tmp_path / "file", 4)


@pytest.mark.parametrize("code", [None, errno.EXDEV, errno.EOPNOTSUPP])
def test_copy_is_fresh_and_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None) -> None:
    """A copy has the bytes and an inode of its own, also where the kernel cannot copy by itself."""
    data = os.urandom(3_000_001)
    (tmp_path / "from").write_bytes(data)
    if code is not None:

        def refuse(*_: object) -> int:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "copy_file_range", refuse)
    files.copy(tmp_path / "from", tmp_path / "to", mode=0o640)
    assert (tmp_path / "to").read_bytes() == data
    assert (tmp_path / "to").stat().st_ino != (tmp_path / "from").stat().st_ino
    assert (tmp_path / "to").stat().st_mode & 0o777 == 0o640
    with pytest.raises(errors.PipelineError, match="File exists"):
        files.copy(tmp_path / "from", tmp_path / "to")


def test_digests_are_remembered_by_stat(tmp_path: Path) -> None:
    """A second run reads nothing that did not change, and everything that did, whatever its mtime says."""
    record, path = tmp_path / "record", tmp_path / "file"
    path.write_bytes(b"one")
    first = digests.Digests(record)
    assert first.of(path) == sha256(b"one")
    first.save()
    second = digests.Digests(record)
    path.chmod(0o000)  # ctime moves: the record is of no use, and an unprivileged reader would see EACCES
    path.chmod(0o644)
    about = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert second.of(path) == sha256(b"two")


def test_a_known_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the record knows is answered from its stat alone."""
    path = tmp_path / "file"
    path.write_bytes(b"one")
    known = digests.Digests(tmp_path / "record")
    known.of(path)
    known.save()
    again = digests.Digests(tmp_path / "record")
    monkeypatch.setattr(files, "open_regular", None)
    assert again.of(path) == sha256(b"one")


def test_a_racy_file_is_never_trusted(tmp_path: Path) -> None:
    """Changed within the tick of the clock in which it was read, with the same size, a file gets its new digest."""
    known = digests.Digests(tmp_path / "record")
    path = tmp_path / "file"
    for number in range(60):
        data = b"%03d" % number
        with path.open("r+b" if number else "wb") as file:
            file.write(data)
        assert known.of(path) == sha256(data)


def test_a_stamp_from_the_future_is_not_remembered(tmp_path: Path) -> None:
    """With a file from a clock that ran ahead the digest is right, and taken anew each time."""
    path = tmp_path / "file"
    path.write_bytes(b"one")
    os.utime(path, (time.time() + 1e6, time.time() + 1e6))
    known = digests.Digests(tmp_path / "record")
    assert known.of(path) == sha256(b"one")
    known.save()
    assert not (tmp_path / "record").exists()


@pytest.mark.parametrize(
    ("stamp", "age", "trusted"),
    [
        (7 * SECOND + 1, 19_999_999, False),
        (7 * SECOND + 1, 20_000_000, True),
        (7 * SECOND, 2 * SECOND - 1, False),
        (7 * SECOND, 2 * SECOND, True),
        (7 * SECOND + 1, -1, False),
    ],
)
def test_a_digest_younger_than_the_clock_is_not_remembered(
    monkeypatch: pytest.MonkeyPatch, stamp: int, age: int, *, trusted: bool
) -> None:
    """A file is trusted once a tick of the kernel's clock is over, and two seconds where stamps are whole seconds."""
    monkeypatch.setattr(time, "time_ns", lambda: stamp + age)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert digests._settled(mock.Mock(st_mtime_ns=stamp - 1, st_ctime_ns=stamp)) == trusted
    assert digests._settled(mock.Mock(st_mtime_ns=stamp, st_ctime_ns=stamp)) == trusted


@pytest.mark.parametrize("where", range(0, 200, 13))
def test_a_damaged_record_is_ignored(tmp_path: Path, where: int) -> None:
    """Row 31: torn or flipped at any place, the record counts for nothing."""
    path, record = tmp_path / "file", tmp_path / "record"
    path.write_bytes(b"one")
    known = digests.Digests(record)
    known.of(path)
    known.save()
    whole = record.read_bytes()
    at = where % len(whole)
    for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
        record.write_bytes(damaged)
        assert digests.Digests(record).of(path) == sha256(b"one")
        assert digests.Digests(record)._known == {}


def test_tree_names_what_is_no_plain_file(tmp_path: Path) -> None:
    """Links, hard links, fifos and empty folders are reported by kind, and nothing outside is read."""
    folder = tmp_path / "tree"
    (folder / "1").mkdir(parents=True)
    (folder / "2").mkdir()
    (folder / "1/model.pt").write_bytes(b"weights")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "linked").symlink_to("/etc")
    (tmp_path / "outside").write_bytes(b"shared")
    (folder / "hard").hardlink_to(tmp_path / "outside")
    os.mkfifo(folder / "fifo")
    assert digests.Digests(tmp_path / "record").tree(folder) == {
        "1/model.pt": sha256(b"weights"),
        "2": "folder",
        "fifo": "special",
        "hard": "hardlink",
        "link": "link",
        "linked": "link",
    }


def test_thousands_of_known_files_are_fast(tmp_path: Path) -> None:
    """2000 known files take well under a second."""
    for number in range(2000):
        (tmp_path / f"{number:04}").write_bytes(b"%d" % number)
    known = digests.Digests(tmp_path.parent / "record")
    known.tree(tmp_path)
    began = time.perf_counter()
    known.tree(tmp_path)
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize("atomic", [True, False])
def test_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, atomic: bool) -> None:
    """Two folders change places, with and without the kernel's help."""
    if not atomic:
        monkeypatch.setattr(folders, "_renameat2", lambda *_: False)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    folders.exchange(tmp_path / "a", tmp_path / "b")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["a", "a/b", "b", "b/a"]


def test_remove_copes_with_read_only_folders(tmp_path: Path) -> None:
    """Read-only folders go, links go without what they lead to, and what is not there is fine."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    inner = tmp_path / "tree/inner"
    inner.mkdir(parents=True)
    (inner / "file").touch(0o444)
    (inner / "link").symlink_to(tmp_path / "kept")
    inner.chmod(0o555)
    inner.parent.chmod(0o500)
    folders.remove(tmp_path / "tree")
    folders.remove(tmp_path / "tree")
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "file"]


def test_sweep_takes_only_our_own_names(tmp_path: Path) -> None:
    """Only names of our own kind are swept."""
    ours = files.temporary(tmp_path).name
    others = [".pipeline-1.tmp", ".pipeline-0123456789abcdef.tmp~", ".tmp", "pipeline", ".git", ".pipeline"]
    for name in [ours, *others]:
        (tmp_path / name).mkdir()
    assert folders.sweep(tmp_path) == (ours,)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_a_stage_that_fails_is_removed(tmp_path: Path) -> None:
    """A stage leaves nothing behind when its work fails."""

    def work() -> None:
        with folders.stage(tmp_path / "store") as aside:
            (aside / "file").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert list((tmp_path / "store").iterdir()) == []


CALLS: list[Callable[[Path], object]] = [
    lambda path: files.write(path / "file/inner", b""),
    lambda path: files.make_folder(path / "file/inner"),
    lambda path: folders.publish(path / "nothing", path / "there"),
    lambda path: folders.exchange(path / "nothing", path / "file"),
    lambda path: digests.Digests(path / "r").tree(path / "nothing"),
    lambda path: files.copy(path / "nothing", path / "there"),
]


@pytest.mark.parametrize("call", range(len(CALLS)))
def test_every_failure_of_the_system_says_what_to_do(tmp_path: Path, call: int) -> None:
    """An OSError becomes an error with the path, the reason and a hint."""
    (tmp_path / "file").touch()
    with pytest.raises(errors.PipelineError, match=str(tmp_path)) as caught:
        CALLS[call](tmp_path)
    assert caught.value.hint
