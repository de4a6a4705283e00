"""Row 34: folders that are swapped for links between the look and the opening: nothing outside is read or written."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.core import errors
from pipeline.edges import digests, folders, repository
from tests.edges import publisher

ALL_EVENTS = 0xFFF  # IN_ALL_EVENTS of inotify
SECRET = b"what nobody may read"
SWAPPER = """
import ctypes, os, sys
exchange, names = ctypes.CDLL(None).renameat2, [os.fsencode(word) for word in sys.argv[1:]]
print(flush=True)
while True:
    exchange(-100, names[0], -100, names[1], 2)
"""


class Swapper:
    """Another process that makes a folder a link, and a folder again, without pause. `other` is the name by which it
    has the one of the two that is not at `place`."""

    def __init__(self, place: Path, outside: Path) -> None:
        self.place, self.other, self.outside = place, place.with_name(f".other-{place.name}"), outside
        self.other.symlink_to(outside)
        words = [sys.executable, "-I", "-S", "-c", SWAPPER, str(place), str(self.other)]
        self.child = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self.child.stdout is not None
        self.child.stdout.readline()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """While the block runs, nothing is swapped."""
        self.child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.child.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self.child.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Kills it."""
        with self.child:
            self.child.kill()


@contextlib.contextmanager
def swapping(place: Path, outside: Path) -> Iterator[Swapper]:
    """While the block runs, a swapper is at work."""
    swapper = Swapper(place, outside)
    try:
        yield swapper
    finally:
        swapper.end()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder like a model's, with a config that claims to be ours, that is none of ours."""
    found = tmp_path / "outside"
    (found / "1").mkdir(parents=True)
    (found / "1/model.pt").write_bytes(SECRET)
    (found / "config.pbtxt").write_text(publisher.config_of("sha256:outside"))
    return found


class Guard:
    """What the kernel says of a folder: everything in it that is opened, read, listed, changed or removed."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._paths = [folder, *folder.rglob("*")]
        for path in self._paths:
            assert libc.inotify_add_watch(self._events, os.fsencode(path), ALL_EVENTS) > 0
        self._texts = {path: path.read_bytes() for path in self._paths if path.is_file()}
        self._stats = [path.stat() for path in self._paths]
        self.seen()

    def seen(self) -> list[int]:
        """The masks of the events since the last call."""
        try:
            data = os.read(self._events, 1 << 20)
        except BlockingIOError:
            return []
        masks = []
        while data:
            _, mask, _, length = struct.unpack_from("iIII", data)
            masks.append(mask)
            data = data[16 + length :]
        return masks

    def check(self) -> None:
        """Nothing was opened, and all is as it was, modes and times too."""
        assert self.seen() == []
        os.close(self._events)
        assert [path.stat() for path in self._paths] == self._stats
        assert {path: path.read_bytes() for path in self._texts} == self._texts


@pytest.fixture
def guard(outside: Path) -> Iterator[Guard]:
    """Watches the folder outside during the test, and checks it at the end."""
    made = Guard(outside)
    yield made
    made.check()


def test_the_guard_sees_a_look(outside: Path) -> None:
    """The kernel tells of a file that is opened, and of a folder that is listed."""
    watched = Guard(outside)
    (outside / "1/model.pt").read_bytes()
    assert watched.seen()
    list(outside.iterdir())
    assert watched.seen()


TRIES = [500, pytest.param(10_000, marks=pytest.mark.full)]
MOST = 20
"""So many times as often is tried until chance has shown both: on a busy machine the swapper waits for its turn."""


def both(act: Callable[[], None], after: Callable[[], bool], tries: int) -> None:
    """Tries an act so often, and until it was done once and refused once; `after` says each time if all is well."""
    done = refused = 0
    while done + refused < tries or not (done and refused):
        try:
            act()
            done += 1
        except errors.PipelineError:
            refused += 1
        assert after()
        assert done + refused < MOST * tries, f"{done} done, {refused} refused"


@pytest.mark.parametrize("tries", TRIES)
def test_a_look_never_leaves_the_folder(tmp_path: Path, outside: Path, guard: Guard, tries: int) -> None:
    """Each look at a tree sees the folder, the link, or neither, and never what the link leads to."""
    inside = tmp_path / "tiny/1"
    inside.mkdir(parents=True)
    (inside / "model.pt").write_bytes(b"ours")
    ours, known = hashlib.sha256(b"ours").hexdigest(), digests.Digests(tmp_path / "record")
    known.tree(inside)
    seen: set[str] = set()
    with swapping(inside, outside):
        for count in range(MOST * tries):
            if count >= tries and {ours, "link"} <= seen:
                break
            with contextlib.suppress(errors.PipelineError):
                seen |= set(known.tree(inside.parent).values())
    assert {ours, "link"} == seen, "both were met, and nothing else"


class Place:
    """A repository with one model, and the store entry that it comes from."""

    def __init__(self, root: Path) -> None:
        _, contents, self.model, self.text = publisher.desired("old")
        self.entry, self.folder = root / "old", root / "model_repository"
        self.entry.mkdir()
        for file, data in contents.items():
            (self.entry / file).write_bytes(data)
        self.known = digests.Digests(root / "record")
        self.target = self.folder / self.model.name
        self.install()

    def install(self) -> None:
        """Puts the model in, and removes what stood there."""
        swap = repository.install(
            self.folder, self.model, {repository.CONFIG: self.text}, lambda _: self.entry, self.known
        )
        repository.forget(swap)

    def tend(self, swapper: Swapper) -> bool:
        """Gives the swapper a folder and a link again, whatever was put away; whether all that stands is one of both,
        or nothing."""
        with swapper.paused():
            there = [path for path in (self.target, swapper.other) if os.path.lexists(path)]
            good = all(path.is_symlink() or self.known.tree(path) in ({}, self.model.files) for path in there)
            links = [path for path in there if path.is_symlink()]
            if len(there) == 2 and len(links) == 1:
                return good
            for path in there:
                folders.remove(path)
            self.install()
            swapper.other.symlink_to(swapper.outside)
            return good


@pytest.mark.parametrize("tries", TRIES)
def test_a_repository_is_seen_as_it_is(tmp_path: Path, outside: Path, guard: Guard, tries: int) -> None:
    """A model that is swapped for a link is ours or a stranger, and its claim is never read through the link."""
    place = Place(tmp_path)
    claims: set[str | None] = set()
    with swapping(place.target, outside):
        for count in range(MOST * tries):
            if count >= tries and len(claims) == 2:
                break
            with contextlib.suppress(errors.PipelineError):
                models, _ = repository.observe(place.folder, place.known)
                claims |= {models[name].digest if name in models else None for name in (place.model.name,)}
                repository.read_config(place.folder, place.model.name)
    assert claims == {place.model.digest, None}


@pytest.mark.parametrize("tries", TRIES)
def test_a_model_is_never_put_elsewhere(tmp_path: Path, outside: Path, guard: Guard, tries: int) -> None:
    """Whatever becomes of a model's folder while models are installed, each install is done as a whole or refused."""
    place = Place(tmp_path)
    with swapping(place.target, outside) as swapper:
        both(place.install, lambda: place.tend(swapper), tries)


@pytest.mark.parametrize("tries", TRIES)
def test_nothing_else_is_taken_out(tmp_path: Path, outside: Path, guard: Guard, tries: int) -> None:
    """A model is taken out and put back, made newer, or left alone: what a link leads to is never touched."""
    place = Place(tmp_path)

    def act() -> None:
        repository.renew(place.folder, place.model.name)
        repository.undo(repository.remove(place.folder, place.model.name))

    with swapping(place.target, outside) as swapper:
        both(act, lambda: place.tend(swapper), tries)
