"""The whole chain on the real Triton: a spec becomes verified answers, once, and what is wrong is seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.edges import triton
from tests import project

pytestmark = pytest.mark.real

WRONG = {
    "other weights": "self.other(left, right)",
    "inputs swapped": "self.model(right, left)",
    "not a number": "self.model(left, right) * float('nan')",
    "off by a little": "self.model(left, right) + 0.01",
    "other shape": "torch.cat([self.model(left, right)] * 2, 1)",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[project.Project]:
    """A project whose server runs and is verified."""
    made = project.make(tmp_path_factory.mktemp("chain") / "project")
    made.good("apply")
    yield made
    made.good("down")


def test_second_run_changes_nothing(served: project.Project) -> None:
    """Applying again builds nothing, writes nothing and leaves the same server process running."""
    before = snapshot(served.root)
    pid = json.loads((served.root / ".pipeline/run/server.json").read_text())["pid"]
    again = served.run("apply")
    assert again.returncode == 0
    assert "exporting" not in again.stderr
    assert snapshot(served.root) == before
    assert json.loads((served.root / ".pipeline/run/server.json").read_text())["pid"] == pid


def test_plan_in_sync_is_light(served: project.Project) -> None:
    """An up-to-date plan says so, exits 0, and imports none of the heavy libraries."""
    heavy = ["torch", "transformers", "docker", "tritonclient", "numpy", "jsonschema", "google.protobuf"]
    code = (
        "import sys; from pipeline import cli; code = cli.main(['plan']); "
        f"print([name for name in {heavy} if name in sys.modules]); sys.exit(code)"
    )
    ended = served.python(code)
    assert ended.returncode == 0, ended.stderr
    first, last = ended.stdout.splitlines()
    assert first.startswith("No changes.")
    assert last == "[]"


def test_rendered_configs_are_those_on_disk(served: project.Project) -> None:
    """`render` prints, digest and all, the very config that is served, and `validate` has read what is built."""
    found = json.loads(served.good("render", "--json"))
    assert found["unlocked"] == []
    assert found["configs"] == {"tiny": (served.root / "model_repository/tiny/config.pbtxt").read_text()}
    warned = json.loads(served.good("validate", "--json"))["findings"]
    assert [each["rule"] for each in warned] == ["security-floor"]


def test_status_tells_health(served: project.Project) -> None:
    """Status shows each model synced and healthy, by a real inference."""
    rows = json.loads(served.good("status", "--json"))["models"]
    assert [(row["model"], row["sync"], row["health"]) for row in rows] == [("tiny", "Synced", "Healthy")]


def test_changed_golden_needs_a_word(tmp_path: Path) -> None:
    """A golden that would change is refused with numbers, exit 4, the lock as it was; the explicit word lets it in."""
    made = project.make(tmp_path / "project")
    made.build()
    before = (made.root / "pipeline.lock").read_bytes()
    made.edit("scale: 1.5", "scale: 1.25")
    refused = made.run("export")
    assert refused.returncode == 4
    assert "moved by at most" in refused.stderr
    assert "--accept-goldens" in refused.stderr
    assert (made.root / "pipeline.lock").read_bytes() == before
    made.good("lock", "--accept-goldens")
    assert (made.root / "pipeline.lock").read_bytes() != before


def test_an_export_that_takes_too_much_is_told(tmp_path: Path) -> None:
    """Rows 15 and 17: the spec's limits hold for each export by itself, and the error names them; nothing is left of
    what failed, and what did not fail stays built."""
    made = project.make(tmp_path / "project")
    made.edit("export: trace", "export: {method: trace, memory: 100m}")
    other = "{source: {factory: {seed: 1}}, export: {method: trace, disk: 1k}}"
    made.edit(
        "{source: {factory: {seed: 1}}}", f"{other}\n      3: {{source: {{factory: {{seed: 2}}}}, export: trace}}"
    )
    ended = made.run("export")
    assert ended.returncode == 1
    assert "the export of tiny version 1 failed: its process hit its memory limit of 100 MiB" in ended.stderr
    assert "export.memory" in ended.stderr
    assert "the export of tiny version 2 failed: its process hit its disk limit of 1 KiB" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (made.root / "pipeline.lock").exists()
    assert len(list((made.root / ".pipeline/store").iterdir())) == 1
    made.edit(", memory: 100m", "")
    made.edit(", disk: 1k", "")
    again = made.run("export")
    assert again.returncode == 0, again.stderr
    assert [line for line in again.stderr.splitlines() if line.startswith("exporting")] == [
        "exporting tiny version 1",
        "exporting tiny version 2",
    ]


def test_rebuild_elsewhere_gives_the_lock(served: project.Project, tmp_path: Path) -> None:
    """Row 19: another folder, user, home and hash seed give the same lock, byte for byte; a user whose exports the
    kernel does not let be shut in is told so, once."""
    made = project.make(tmp_path / "elsewhere" / "deep")
    text = (served.root / "pipeline.yaml").read_text()
    (made.root / "pipeline.yaml").write_text(text)
    ended = made.run_as_another_user(
        "export", PYTHONHASHSEED="77", HOME=str(tmp_path), USER="someone", LOGNAME="someone"
    )
    assert ended.returncode == 0, ended.stderr
    told = (
        "nothing here keeps an export from what it must not do: it could use the network and write outside its folder"
    )
    assert ended.stderr.count(told) == 1
    assert (made.root / "pipeline.lock").read_bytes() == (served.root / "pipeline.lock").read_bytes()


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_model_fails_verify(served: project.Project, fault: str) -> None:
    """A model that was changed behind the golden's back fails with exit 4, in numbers, and can be repeated."""
    repository = served.root / "model_repository" / "tiny"
    artifact = repository / "1" / "model.pt"
    good = artifact.read_bytes()
    client = triton.Client(port=served.ports[0])
    try:
        swap(artifact, repository / "2" / "model.pt", fault)
        client.load("tiny", timeout=60)
        ended = served.run("verify")
        assert ended.returncode == 4, ended.stdout + ended.stderr
        assert "tiny" in ended.stdout
        assert "expected" in ended.stdout
        assert list((served.root / ".pipeline" / "failures").glob("tiny-1-http-b*/repeat.py"))
    finally:
        artifact.write_bytes(good)
        client.load("tiny", timeout=60)
    served.good("verify")


def test_golden_of_other_bytes_is_refused(served: project.Project) -> None:
    """A golden file that is not the locked one is never compared with: exit 4, naming the digest."""
    lock = json.loads((served.root / "pipeline.lock").read_text())
    version = lock["models"]["tiny"]["versions"]["1"]
    golden = served.root / ".pipeline/store" / version["key"] / "golden.safetensors"
    good = golden.read_bytes()
    golden.chmod(0o644)
    try:
        golden.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        ended = served.run("verify")
        assert ended.returncode == 4
        assert version["golden"][:12] in ended.stdout
    finally:
        golden.write_bytes(good)
        golden.chmod(0o444)


def swap(artifact: Path, other: Path, fault: str) -> None:
    """Puts a model with the fault in the artifact's place."""
    import torch  # noqa: PLC0415

    class Wrong(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model, self.other = torch.jit.load(artifact), torch.jit.load(other)

        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return eval(WRONG[fault], {"self": self, "left": left, "right": right, "torch": torch})

    torch.jit.trace(Wrong(), (torch.rand(2, 3), torch.rand(2, 3))).save(str(artifact))


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Every file of store, repository and lock, by its inode and time of change."""
    places = [root / "pipeline.lock", *(root / "model_repository").rglob("*"), *(root / ".pipeline/store").rglob("*")]
    return {str(path): (path.stat().st_ino, path.stat().st_ctime_ns) for path in places}


def test_model_that_cannot_be_served_is_named_by_its_line(tmp_path: Path) -> None:
    """A version that Triton cannot load fails `serve` with the line of the spec and Triton's reason; nothing stays."""
    made = project.make(tmp_path / "project")
    made.edit(
        "    version_policy:",
        "    config: {runtime: perhaps.so}\n    version_policy:",
    )
    made.build()
    made.good("assemble")
    ended = made.run("serve")
    assert ended.returncode == 1
    assert "pipeline.yaml:" in ended.stderr
    assert "perhaps" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "No server" in made.run("status").stdout
