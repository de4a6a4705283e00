"""Faults on the disk: kills, full disks, failing calls, at every step of a run that publishes and installs."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.core import build
from pipeline.edges import digests, repository, store
from tests import faults
from tests.edges import publisher

SCRIPT = Path(publisher.__file__)
ASIDE = (".pipeline/digests", ".pipeline/writer")


def command(folder: Path) -> Sequence[str]:
    """The run that is hurt."""
    return [sys.executable, str(SCRIPT), str(folder), "new"]


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A project where `old` is served and a model `dropped` is there, which `new` has no more."""
    folder = tmp_path / "start"
    folder.mkdir()
    publisher.main(folder, "old")
    dropped = folder / "model_repository/dropped"
    (dropped / "1").mkdir(parents=True)
    (dropped / "config.pbtxt").write_text(publisher.config_of("x"))
    (dropped / "1/model.pt").write_bytes(b"weights")
    return folder


@pytest.fixture
def undisturbed(start: Path, tmp_path: Path) -> dict[str, bytes | str]:
    """What a run without a fault leaves."""
    end = tmp_path / "undisturbed"
    shutil.copytree(start, end)
    assert faults.run(command(end)).code == 0
    return faults.contents(end, without=ASIDE)


class Check:
    """After a fault: everything is old or new, and the next run ends where an undisturbed one does."""

    def __init__(self, undisturbed: dict[str, bytes | str], *, codes: set[int]) -> None:
        self.undisturbed, self.codes = undisturbed, codes

    def __call__(self, folder: Path, result: faults.Run) -> None:
        assert result.code in self.codes
        assert "Traceback" not in result.said
        self.old_or_new(folder)
        again = faults.run(command(folder))
        assert again.code == 0, again.said
        assert faults.contents(folder, without=ASIDE) == self.undisturbed
        assert faults.leftovers(folder) == []

    def old_or_new(self, folder: Path) -> None:
        known = digests.Digests(folder / "no record")
        models, strangers = repository.observe(folder / "model_repository", known)
        assert strangers == ()
        assert models["bert"].files in [publisher.desired(word)[2].files for word in ("old", "new")]
        locks = [build.canonical(publisher.desired(word)[0]) for word in ("old", "new")]
        assert (folder / "pipeline.lock").read_bytes() in locks
        stored = store.Store(folder / ".pipeline/store", known)
        for key in sorted(path.name for path in stored.folder.glob("[0-9a-f]*")):
            assert stored.check(key) == ()


def test_kill_at_every_call_sampled(start: Path, undisturbed: dict[str, bytes | str], tmp_path: Path) -> None:
    """Row 22: killed at any changing call, all is old or new, and the next run converges without an orphan."""
    hurt = faults.sweep(command, start, Check(undisturbed, codes={-9}), scratch=tmp_path, step=8)
    assert hurt >= 8


@pytest.mark.full
def test_kill_at_every_call(start: Path, undisturbed: dict[str, bytes | str], tmp_path: Path) -> None:
    """Row 22, complete: every changing call."""
    hurt = faults.sweep(command, start, Check(undisturbed, codes={-9}), scratch=tmp_path)
    assert hurt >= 40


FAILURES = [
    ("fsync", "error=EIO", 3),
    ("rename,renameat2", "error=EROFS", 1),
    ("copy_file_range,write", "error=ENOSPC", 1),
    ("mkdir", "error=EACCES", 1),
    ("chmod,fchmod", "error=EPERM", 4),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure[0])
def test_a_call_fails_once(
    failure: tuple[str, str, int], start: Path, undisturbed: dict[str, bytes | str], tmp_path: Path
) -> None:
    """Row 21: a call that fails gives exit 1 (or no harm), a reason and a hint, and leaves all old or new."""
    calls, fault, step = failure
    check = Check(undisturbed, codes={0, 1})
    assert faults.sweep(command, start, check, scratch=tmp_path, calls=calls, fault=fault, step=step) >= 1


def test_a_disk_that_fails_for_ever(start: Path, undisturbed: dict[str, bytes | str], tmp_path: Path) -> None:
    """Row 21: with every fsync failing nothing new appears, the reason is told, and no file is synced twice."""
    result = faults.run(command(start), inject="fsync:error=EIO", cwd=start)
    assert (result.code, result.hit) == (1, True)
    assert "Input/output error" in result.said
    assert "The disk failed" in result.said
    Check(undisturbed, codes={1})(start, result)


@pytest.mark.parametrize("kilobytes", [144, 160, 176, 208, 256, 320])
def test_disk_full(kilobytes: int, start: Path, undisturbed: dict[str, bytes | str], tmp_path: Path) -> None:
    """Row 20: on a disk of any size the run ends with exit 1 and the old state, or works; with room it converges."""
    after, result = faults.full_disk(command, start, kilobytes, scratch=tmp_path)
    if result.code:
        assert "No space left on device" in result.said
        assert "make room" in result.said
    Check(undisturbed, codes={0, 1})(after, result)


def limited(kind: int, value: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """The run under one of the kernel's limits."""
    return subprocess.run(
        command(folder),
        env=faults.environment(),
        preexec_fn=lambda: resource.setrlimit(kind, (value, value)),
        capture_output=True,
        text=True,
        check=False,
    )


def test_file_too_large(start: Path, undisturbed: dict[str, bytes | str]) -> None:
    """Row 21: beyond the limit on a file's size (EFBIG) the run ends with exit 1 and the limit's name."""
    done = limited(resource.RLIMIT_FSIZE, publisher.SIZE // 2, start)
    assert done.returncode == 1
    assert "ulimit -f" in done.stdout
    Check(undisturbed, codes={1})(start, faults.Run(done.returncode, done.stdout, hit=True))


def test_too_many_open_files(tmp_path: Path) -> None:
    """Row 21: EMFILE while a tree is read is an error that names the limit."""
    deep = tmp_path.joinpath(*(["deep"] * 40))
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"x")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 10, hard))
    try:
        with pytest.raises(Exception, match=re.escape(os.strerror(errno.EMFILE))) as caught:
            digests.Digests(tmp_path / "record").tree(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "ulimit -n" in getattr(caught.value, "hint", "")


def test_order_on_the_disk(start: Path, tmp_path: Path) -> None:
    """Row 25: what a rename makes visible was synced before it, and the folder is synced after it."""
    log = tmp_path / "log"
    tracer = ["strace", "-f", "-y", "-o", str(log), "-e", "trace=fsync,rename,renameat2"]
    assert faults.run([*tracer, *command(start)]).code == 0
    lines = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines() if "(" in line]
    renames = [at for at, line in enumerate(lines) if line.startswith("rename")]
    assert len(renames) >= 3
    for at in renames:
        moved, target = re.findall(r'"([^"]+)"', lines[at])[:2]
        if Path(target).name.startswith(".pipeline-") or "/digests" in target:
            continue  # on its way out
        synced = [found[1] for line in lines[:at] if (found := re.match(r"fsync\(\d+<([^>]+)>", line))]
        assert moved in synced, lines[at]
        assert f"<{Path(target).parent}>" in lines[at + 1], lines[at : at + 2]
