"""Row 34: folders that are swapped for links between the look and the opening: nothing outside is read or written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core import errors
from pipeline.edges import digests, files, repository
from tests.edges import publisher

SECRET = b"what nobody may read"
SWAPPER = """
import ctypes, os, sys
exchange, names = ctypes.CDLL(None).renameat2, [os.fsencode(word) for word in sys.argv[1:]]
print(flush=True)
while True:
    exchange(-100, names[0], -100, names[1], 2)
"""


@contextlib.contextmanager
def swapping(place: Path, outside: Path) -> Iterator[Path]:
    """While the block runs, another process makes a folder a link to `outside`, and a folder again, without pause;
    yields the name by which it has the other of the two."""
    other = place.with_name(f".other-{place.name}")
    other.symlink_to(outside)
    words = [sys.executable, "-I", "-S", "-c", SWAPPER, str(place), str(other)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield other
        finally:
            child.kill()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder like a model's version, that is none of ours."""
    found = tmp_path / "outside"
    found.mkdir()
    (found / "model.pt").write_bytes(SECRET)
    return found


def test_a_look_never_leaves_the_folder(tmp_path: Path, outside: Path) -> None:
    """Ten thousand looks at a tree: each sees the folder, the link, or neither, and never what the link leads to."""
    inside = tmp_path / "tiny/1"
    inside.mkdir(parents=True)
    (inside / "model.pt").write_bytes(b"ours")
    ours, known = hashlib.sha256(b"ours").hexdigest(), digests.Digests(tmp_path / "record")
    known.tree(inside)
    seen: set[str] = set()
    with swapping(inside, outside):
        for _ in range(10_000):
            with contextlib.suppress(errors.PipelineError):
                seen |= set(known.tree(inside.parent).values())
    assert {ours, "link"} <= seen, "both were met"
    assert hashlib.sha256(SECRET).hexdigest() not in seen


def test_a_model_is_never_put_elsewhere(tmp_path: Path, outside: Path) -> None:
    """Whatever becomes of a model's folder while models are installed, nothing outside is written or removed."""
    _, contents, model, text = publisher.desired("old")
    entry, folder = tmp_path / "old", tmp_path / "model_repository"
    entry.mkdir()
    for file, data in contents.items():
        (entry / file).write_bytes(data)
    known = digests.Digests(tmp_path / "record")
    target, before = folder / model.name, outside.stat()
    done = refused = 0
    repository.install(folder, model, text, lambda _: entry, known)
    with swapping(target, outside) as other:
        for _ in range(50):
            try:
                repository.forget(repository.install(folder, model, text, lambda _: entry, known))
                done += 1
            except errors.PipelineError:
                refused += 1
            if target.is_symlink() and not os.path.lexists(other):  # the folder was put out of the way
                target.rename(other)
            if not (target.is_symlink() or other.is_symlink()):  # the link itself was
                other.rename(files.temporary(folder))
                other.symlink_to(outside)
    assert done + refused == 50
    assert outside.stat() == before, "not even its mode was changed"
    assert [path.name for path in outside.iterdir()] == ["model.pt"]
    assert (outside / "model.pt").read_bytes() == SECRET
