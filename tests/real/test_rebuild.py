"""`rebuild`: the lock is proven by a build in a clean folder, or what differs is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests import faults, project

pytestmark = pytest.mark.real

CHANCE = """\
        import os
        self.layer.weight.data += int.from_bytes(os.urandom(2)) / 1e9
"""


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> project.Project:
    """A project whose two versions are built and locked."""
    made = project.make(tmp_path_factory.mktemp("locked") / "project")
    made.build()
    return made


def copy(first: project.Project, root: Path) -> project.Project:
    """Another project that is the same by now."""
    return project.Project(root=Path(shutil.copytree(first.root, root)), ports=first.ports)


def findings(made: project.Project) -> list[tuple[str, int | None, str]]:
    """Rule, version and message of each finding of a rebuild that must fail with 4."""
    ended = made.run("rebuild", "--check", "--json")
    assert ended.returncode == 4, ended.stdout + ended.stderr
    return [(each["rule"], each.get("version"), each["message"]) for each in json.loads(ended.stdout)["findings"]]


def test_the_lock_is_proven(locked: project.Project) -> None:
    """Everything is built again, comes out with the same bytes, and nothing of the project changes."""
    before = faults.contents(locked.root, without=[".pipeline/digests.json"])
    ended = locked.run("rebuild", "--check")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("exporting tiny version") == 2
    digest = json.loads((locked.root / "pipeline.lock").read_text())["digest"]
    assert ended.stdout.splitlines() == [
        "tiny 1: the same bytes",
        "tiny 2: the same bytes",
        f"The lock holds: 2 versions built again, {digest}.",
    ]
    assert faults.contents(locked.root, without=[".pipeline/digests.json"]) == before
    assert faults.leftovers(locked.root) == []


def test_without_the_store(locked: project.Project, tmp_path: Path) -> None:
    """A checkout with an empty store proves the lock as well, under another user."""
    made = copy(locked, tmp_path / "elsewhere")
    faults.discard(made.root / ".pipeline")
    ended = made.run_as_another_user("rebuild", "--json")
    assert ended.returncode == 0, ended.stderr
    assert [each["exact"] for each in json.loads(ended.stdout)["versions"]] == [True, True]


def test_an_input_that_moved(locked: project.Project, tmp_path: Path) -> None:
    """Code, spec and pins that are not those of the lock are named, and nothing is built of them."""
    made = copy(locked, tmp_path / "p")
    code = made.root / "models.py"
    code.write_text(code.read_text() + "# one more line\n")
    assert [(rule, version, message.partition(" has ")[0]) for rule, version, message in findings(made)] == [
        ("rebuild-input", 1, "the source's file models.py"),
        ("rebuild-input", 2, "the source's file models.py"),
    ]
    shutil.copy(locked.root / "models.py", code)
    made.edit("seed: 1", "seed: 7")
    assert findings(made) == [("rebuild-input", 2, "source.factory.seed is 7, locked 1")]
    made.edit("seed: 7", "seed: 1")
    pins = made.root / "requirements/torch.txt"
    pins.write_text(pins.read_text().replace("safetensors==", "safetensors==9."))
    assert {message.partition(" is ")[0] for _, _, message in findings(made)} == {"safetensors"}


def test_a_record_that_moved(locked: project.Project, tmp_path: Path) -> None:
    """A config that the spec says otherwise by now is told, though every artifact is the same."""
    made = copy(locked, tmp_path / "p")
    made.edit("{specific: [1, 2]}", "{specific: [2]}")
    ((rule, version, message),) = findings(made)
    assert (rule, version) == ("rebuild-record", None)
    assert message.startswith("config.pbtxt has sha256")


def test_chance_in_the_code(locked: project.Project, tmp_path: Path) -> None:
    """Row 19: a model that draws its weights by chance is caught: the member of the archive is named, and how far its
    answers moved."""
    made = project.make(tmp_path / "p")
    code = made.root / "models.py"
    code.write_text(code.read_text().replace("Linear(3, 2)\n", "Linear(3, 2)\n" + CHANCE))
    made.good("export")
    told = [message for rule, version, message in findings(made) if (rule, version) == ("rebuild-differs", 1)]
    assert told[0].startswith("model.pt has sha256")
    assert any(line.startswith("model.pt: member model/data/") for line in told)
    assert any(line.startswith("golden 4/output/answer moved by at most") for line in told)
    faults.discard(made.root / ".pipeline")
    assert any("the store has not the locked bytes" in message for _, _, message in findings(made))


def test_a_file_that_nobody_named(locked: project.Project, tmp_path: Path) -> None:
    """Code that reads a file of the project that the lock does not know builds there, and not in a clean folder."""
    made = project.make(tmp_path / "p")
    code = made.root / "models.py"
    code.write_text(
        code.read_text().replace("def build(scale):\n", "def build(scale):\n    open('secret.txt').read()\n")
    )
    (made.root / "secret.txt").write_text("1.5")
    made.good("export")
    told = findings(made)
    assert [(rule, version) for rule, version, _ in told] == [("rebuild-failed", 1), ("rebuild-failed", 2)]
    assert all("secret.txt" in message for _, _, message in told)


def test_nothing_is_locked(tmp_path: Path) -> None:
    """Without a lock there is nothing to prove."""
    ended = project.make(tmp_path / "p").run("rebuild", "--check")
    assert ended.returncode == 1
    assert "there is no pipeline.lock to be proven" in ended.stderr
