"""Row 43, going back: to any kept release, after a collection, by the store alone; what is not kept is named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import project
from tests.real import live

pytestmark = pytest.mark.real
DELAY = "    config: {{dynamic_batching: {{max_queue_delay_microseconds: {}}}}}\n    version_policy:"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[project.Project]:
    """Seven releases: the first two differ in their weights, the others in their config alone; five are kept."""
    found = live.two_releases(tmp_path_factory.mktemp("rollback") / "project")
    text = (found.root / "pipeline.yaml").read_text()
    for delay in range(100, 600, 100):
        (found.root / "pipeline.yaml").write_text(text.replace("    version_policy:", DELAY.format(delay)))
        found.good("apply")
    yield found
    found.good("down")


def test_five_back_after_gc(made: project.Project, tmp_path: Path) -> None:
    """Row 14, and: the last five stay when all else goes; going back asks nobody but this machine, exports nothing."""
    store = made.root / ".pipeline/store"
    before = {path.name for path in store.glob("[0-9a-f]*")}
    made.good("gc")
    assert len(before) == 4
    assert {path.name for path in store.glob("[0-9a-f]*")} == {
        version["key"] for version in live.lock(made)["models"]["tiny"]["versions"].values()
    }
    log = tmp_path / "log"
    ended = made.under(["strace", "-f", "-qq", "-o", str(log), "-e", "trace=connect"], "rollback", "3")
    assert ended.returncode == 0, ended.stderr
    assert "exporting" not in ended.stderr
    places = set(re.findall(r'inet_addr\("([^"]+)"\)', log.read_text()))
    assert places
    assert {place for place in places if not place.startswith("127.")} == set()
    assert (
        live.digest(made)
        == json.loads((made.root / ".pipeline/releases/3/pipeline.lock").read_text())["models"]["tiny"]["digest"]
    )
    made.good("rollback", "7")


def test_one_back(made: project.Project) -> None:
    """Without a number it is the release before; the history shows where one is."""
    made.good("rollback")
    assert json.loads(made.good("history", "--json"))["current"] == 6
    made.good("rollback", "7")


def test_what_is_not_kept_is_named(made: project.Project) -> None:
    """A release that was dropped, or never was, is refused with those that are there, and nothing moves."""
    before = live.digest(made)
    for number in ("1", "2", "99"):
        ended = made.run("rollback", number)
        assert ended.returncode == 1
        assert f"there is no release {number}" in ended.stderr
        assert "There are 3, 4, 5, 6, 7." in ended.stderr
    assert live.digest(made) == before


def test_rollback_imports_no_torch(made: project.Project) -> None:
    """The run itself needs no torch: only the server's own processes have it."""
    code = (
        "import sys; from pipeline import cli; code = cli.main(['rollback', '7']); "
        "print([name for name in ['torch', 'transformers', 'onnx', 'docker'] if name in sys.modules]); sys.exit(code)"
    )
    made.good("rollback")
    ended = made.python(code)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"
