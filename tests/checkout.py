"""Git repositories for tests: an origin, a clone of it that is watched, and another where a person works."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SETTINGS = "[user]\n\tname = Tester\n\temail = tester@example.org\n[init]\n\tdefaultBranch = main\n"


@dataclass
class Clones:
    """`origin` is bare; `here` is the clone that is watched, `there` is the one that a person pushes from."""

    origin: Path
    here: Path
    there: Path

    def push(self, text: str = "one", *, name: str = "pipeline.yaml") -> str:
        """A new commit on origin/main, which sets a file's text; its name in full."""
        path = self.there / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        git(self.there, "add", "--all")
        git(self.there, "commit", "--quiet", "--message", f"{name}: {text[:20]}")
        git(self.there, "push", "--quiet", "origin", "HEAD:main")
        return git(self.there, "rev-parse", "HEAD")

    def rewrite(self, text: str = "rewritten") -> str:
        """Another commit in the place of the last one on origin/main; its name in full."""
        (self.there / "pipeline.yaml").write_text(text)
        git(self.there, "commit", "--quiet", "--all", "--amend", "--message", "rewritten")
        git(self.there, "push", "--quiet", "--force", "origin", "HEAD:main")
        return git(self.there, "rev-parse", "HEAD")

    def set_origin(self, address: str) -> None:
        """Another address for the remote of the clone that is watched."""
        git(self.here, "remote", "set-url", "origin", address)


def git(root: Path, *words: str) -> str:
    """What git says on standard output."""
    ended = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def make(root: Path, monkeypatch: pytest.MonkeyPatch) -> Clones:
    """The three, with two commits on main, and settings of their own instead of those of who runs the tests."""
    (root / "home").mkdir()
    (root / "home" / ".gitconfig").write_text(SETTINGS)
    monkeypatch.setenv("HOME", str(root / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    made = Clones(origin=root / "origin.git", here=root / "here", there=root / "there")
    git(root, "init", "--quiet", "--bare", str(made.origin))
    git(root, "clone", "--quiet", str(made.origin), str(made.there))
    made.push("first")
    made.push("zero", name="pipeline.lock")
    git(root, "clone", "--quiet", str(made.origin), str(made.here))
    return made
