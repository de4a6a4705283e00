"""Watch, as a service runs it: it heals, applies what lands on a branch, and stops cleanly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import project
from tests.real import live

pytestmark = [pytest.mark.real, pytest.mark.alone]
LIMIT = 120.0


class Watch:
    """A running `watch`, with what it has said."""

    def __init__(self, made: project.Project, *words: str) -> None:
        self.said = made.root.parent / "said"
        environment = os.environ | {"PYTHONPATH": str(project.HOME), "PIPELINE_TORCH_PYTHON": sys.executable}
        with self.said.open("w") as file:
            command = [sys.executable, "-m", "pipeline", "watch", "--interval", "1", *words]
            self.child = subprocess.Popen(command, cwd=made.root, env=environment, stdout=file, stderr=file)

    def hear(self, words: str, count: int = 1) -> None:
        """Waits until it has said these words so many times."""
        deadline = time.monotonic() + LIMIT
        while (text := self.said.read_text()).count(words) < count:
            assert self.child.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.1)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after a signal."""
        self.child.send_signal(number)
        return self.child.wait(60)


def git(folder: Path, *words: str) -> str:
    """What git answers."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    ended = subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True)
    return ended.stdout


@pytest.fixture
def places(tmp_path: Path) -> Iterator[tuple[project.Project, Path]]:
    """A server's checkout with a live release, and a colleague's clone of the same origin."""
    server = project.make(tmp_path / "server")
    (server.root / ".gitignore").write_text(".pipeline/\nmodel_repository/*/[0-9]*/\n__pycache__/\n")
    git(server.root, "init", "-q", "-b", "main")
    server.build()
    server.good("apply")
    try:
        git(server.root, "add", "-A")
        git(server.root, "commit", "-qm", "first")
        git(tmp_path, "clone", "-q", "--bare", "server", "origin")
        git(server.root, "remote", "add", "origin", str(tmp_path / "origin"))
        git(tmp_path, "clone", "-q", "origin", "colleague")
        yield server, tmp_path / "colleague"
    finally:
        server.run("down")


def test_heals_and_follows(places: tuple[project.Project, Path]) -> None:
    """A killed server comes back; a pushed commit is applied while it serves; a bad one is not, and is not tried twice;
    SIGTERM ends the watch with exit 0, and the server stays."""
    server, colleague = places
    before = live.digest(server)
    watch = Watch(server, "--git", "origin/main")
    try:
        watch.hear("changes nothing")
        os.kill(live.pid(server), signal.SIGKILL)
        watch.hear("healed, with a new server")
        assert live.digest(server) == before

        spec = colleague / "pipeline.yaml"
        text = spec.read_text()
        spec.write_text(text.replace("max_batch_size: 4", "max_batch_size: 8"))
        theirs = project.Project(root=colleague, ports=server.ports)
        theirs.good("export", "--accept-goldens")
        theirs.good("assemble")
        git(colleague, "commit", "-qam", "larger batches")
        git(colleague, "push", "-q")
        watch.hear("is applied")
        assert live.digest(server) == live.lock(theirs)["models"]["tiny"]["digest"] != before
        assert server.good("plan").startswith("No changes.")

        good = live.digest(server)
        spec.write_text(spec.read_text().replace("dtype: FP32", "dtype: FP33", 1))
        git(colleague, "commit", "-qam", "nonsense")
        git(colleague, "push", "-q")
        watch.hear("is not tried again until origin/main moves")
        time.sleep(3)
        assert watch.said.read_text().count("is not tried again") == 1
        assert live.digest(server) == good

        os.kill(live.pid(server), signal.SIGKILL)  # the spec that is checked out is nonsense: healing does not read it
        watch.hear("healed, with a new server", 2)
        assert live.digest(server) == good
        spec.write_text(text)
        git(colleague, "checkout", "-q", "HEAD~1", "--", "pipeline.yaml")
        git(colleague, "commit", "-qam", "sense again")
        git(colleague, "push", "-q")
        watch.hear("changes nothing", 2)
    finally:
        code = watch.stop()
    assert code == 0
    assert watch.said.read_text().splitlines()[-1] == "watch: stopped"
    assert live.digest(server) == good
