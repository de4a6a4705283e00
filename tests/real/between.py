"""A live project between two states: each switch can be tried again and again, from either side, and its end judged.

Only one release is ever known before a switch, so that each switch makes a new one: `start` puts the files of that
moment back, and asks the server only where it is not what they say.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core import lock, release
from tests import faults, project, traffic
from tests.real import live

SPEC = project.SPEC.replace("      2: {{source: {{factory: {{seed: 1}}}}}}\n", "").replace(
    "specific: [1, 2]", "specific: [1]"
)
APPLY = ("apply", "--accept-goldens")
PAUSE = 0.02
"""Seconds between a client's requests: without it two clients and the server would take both processors of a small
machine, and each run would take twice as long. No pause at all has test_switch."""


class Side(NamedTuple):
    """One of the two states: everything that names it."""

    spec: str
    lock: bytes
    repository: dict[str, bytes]
    digest: str
    releases: Path
    outputs: dict[str, Any]


class Place:
    """The project, its two sides, and what an undisturbed switch leaves."""

    def __init__(self, root: Path) -> None:
        self.project = project.make(root, SPEC)
        self.project.build()
        self.project.good("apply")
        one = self._side(root.with_name("releases of one"))
        self.project.edit(*live.OTHER)
        self.project.build("--accept-goldens")
        self.project.good(*APPLY)
        self.stored = faults.contents(root / ".pipeline/store")
        self.questions = live.golden(self.project, live.lock(self.project), version="1")[0]
        faults.discard(self.known)
        self.project.good(*APPLY)
        self.sides = (one, self._side(root.with_name("releases of two")))
        self.old, self.new = self.sides

    @property
    def known(self) -> Path:
        """The releases."""
        return self.project.root / ".pipeline/releases"

    def _side(self, releases: Path) -> Side:
        shutil.copytree(self.known, releases)
        locked = live.lock(self.project)
        return Side(
            spec=(self.project.root / "pipeline.yaml").read_text(),
            lock=(self.project.root / "pipeline.lock").read_bytes(),
            repository=live.repository(self.project),
            digest=locked["models"]["tiny"]["digest"],
            releases=releases,
            outputs=live.golden(self.project, locked, version="1")[1],
        )

    def start(self) -> None:
        """The side that stands is `old`, live, whole and the only release; the spec asks for the other one, `new`."""
        first, second = self.sides
        stands = live.repository(self.project)
        self.old, self.new = (second, first) if stands == second.repository else (first, second)
        (self.project.root / "pipeline.yaml").write_text(self.old.spec)
        (self.project.root / "pipeline.lock").write_bytes(self.old.lock)
        faults.discard(self.known)
        shutil.copytree(self.old.releases, self.known)
        self.project.good("apply")
        faults.discard(self.known)
        shutil.copytree(self.old.releases, self.known)
        (self.project.root / "pipeline.yaml").write_text(self.new.spec)

    def clients(self) -> traffic.Traffic:
        """A client over each protocol, who knows the answers of both sides. They leave the processors to the run."""
        answers = {"old": self.old.outputs, "new": self.new.outputs}
        return live.clients(self.project, answers, self.questions, http_clients=1, grpc_clients=1, pause=PAUSE)

    def check_old_or_new(self) -> None:
        """Lock, repository and server are those of one side each, and nothing of them is torn."""
        both = (self.old, self.new)
        assert live.digest(self.project) in {side.digest for side in both}
        text = (self.project.root / "pipeline.lock").read_bytes()
        lock.parse(text, file="pipeline.lock")
        assert text in {side.lock for side in both}
        found = {name: data for name, data in live.repository(self.project).items() if not name.startswith(".")}
        assert found in [side.repository for side in both]

    def check_whole(self, side: Side) -> None:
        """Server, repository, lock, store and releases are what an undisturbed run leaves, and there is no more."""
        root = self.project.root
        assert live.digest(self.project) == side.digest
        assert live.repository(self.project) == side.repository
        assert (root / "pipeline.lock").read_bytes() == side.lock
        assert faults.contents(root / ".pipeline/store") == self.stored
        assert self.releases() == self._expected(side)
        assert faults.leftovers(root) == []
        assert not (root / ".pipeline/candidate").exists()
        assert not (root / ".pipeline/journal.json").exists()
        assert (root / ".pipeline/writer").read_bytes() == b""
        assert live.pid(self.project) in processes(self.nonce)
        assert processes(str(root)) == processes(self.nonce)

    @property
    def nonce(self) -> str:
        """What the live server's processes have on their command lines."""
        found: str = json.loads((self.project.root / ".pipeline/run/server.json").read_text())["nonce"]
        return found

    def _expected(self, side: Side) -> list[tuple[str, str]]:
        sides = [self.old] if side is self.old else [self.old, self.new]
        return [texts(each.releases / "1") for each in sides]

    def releases(self) -> list[tuple[str, str]]:
        """The spec and the lock of each release, by number; the history knows them all, and the last is current."""
        history = release.parse((self.known / "history.json").read_bytes(), file="history.json")
        folders = sorted(path for path in self.known.iterdir() if path.is_dir())
        assert [int(path.name) for path in folders] == list(range(1, history.last + 1))
        assert release.current(history) == history.last
        return [texts(path) for path in folders]

    def history(self) -> list[tuple[str, str, str]]:
        """Command, result and message of each entry after the first, which is from before the switch."""
        history = release.parse((self.known / "history.json").read_bytes(), file="history.json")
        return [(each.command, each.result, each.message) for each in history.entries[1:]]

    def wait(self, running: subprocess.Popen[str], step: str) -> None:
        """Returns when the run's journal says that it has got to the step."""
        journal = self.project.root / ".pipeline/journal.json"
        wait(running, lambda: journal.exists() and json.loads(journal.read_bytes())["step"] == step)


def texts(folder: Path) -> tuple[str, str]:
    """The spec and the lock of a release."""
    found = sorted(path for path in folder.iterdir() if path.name != "release.json")
    first, second = (path.read_text() for path in found)
    return first, second


def wait(running: subprocess.Popen[str], reached: Callable[[], bool], seconds: float = 60) -> None:
    """Returns when `reached` says so; the run must not end before."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline, "the run does not get there"
        time.sleep(0.01)


def ended(running: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str]:
    """The exit code of a run that ends within these seconds, and all that it said."""
    try:
        out, err = running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGKILL)
        running.communicate()
        raise
    return running.returncode, out + err


def processes(word: str) -> list[int]:
    """Every process of a Triton that has the word, as a project's folder or a nonce, on its command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        words = read(path / "cmdline").split(b"\0")
        name = Path(words[0].decode()).name
        if name in {"tritonserver", "triton_python_backend_stub"} and word.encode() in b" ".join(words):
            found.append(int(path.name))
    return sorted(found)


def shared(nonce: str) -> list[str]:
    """The regions in shared memory of a server."""
    return [path.name for path in Path("/dev/shm").glob(f"*{nonce}*")]


def read(path: Path) -> bytes:
    """A file's bytes; none where it is gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
