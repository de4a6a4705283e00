"""Finished files from the spec to the repository: copied, pinned, and without an environment that has torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import finished, index_server, project

NO_TORCH = {"PIPELINE_TORCH_PYTHON": "/nowhere/python"}


@pytest.fixture
def made(tmp_path: Path) -> project.Project:
    """The project, nothing done yet."""
    return finished.make(tmp_path / "project")


def run(made: project.Project, *words: str, code: int = 0) -> str:
    """The output of a command, run where no interpreter has torch."""
    ended = made.run(*words, **NO_TORCH)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_nothing_is_exported(made: project.Project) -> None:
    """The files get into store, lock and repository as they are; the plan says copy, and torch is not needed."""
    assert "+ copy sums/1  (needs its files copied into the store)" in run(made, "plan", code=2)
    assert run(made, "needs", "export") == ""
    run(made, "export")
    run(made, "assemble")
    there = sorted(
        str(path.relative_to(made.root / "model_repository")) for path in made.root.glob("model_repository/**/*")
    )
    assert there == [
        "chain",
        "chain/1",
        "chain/config.pbtxt",
        "sums",
        "sums/1",
        "sums/1/lengths.py",
        "sums/1/model.py",
        "sums/config.pbtxt",
        "sums/labels.txt",
    ]
    assert "Plan: 1 to add, 0 to change, 0 to remove." in run(made, "plan", code=2)  # the server
    assert run(made, "export") == "Every artifact is built and locked.\n"
    assert run(made, "assemble") == "The repository is as the spec says.\n"


def test_what_lies_beside_is_watched(made: project.Project) -> None:
    """A label file that is edited in the repository is drift; one that is edited at its origin is a new release."""
    run(made, "export")
    run(made, "assemble")
    (made.root / "model_repository/sums/labels.txt").write_text("right\nleft\n")
    said = run(made, "plan", code=2)
    assert "Changed outside the pipeline" in said
    assert "labels.txt: " in said
    run(made, "assemble")
    assert (made.root / "model_repository/sums/labels.txt").read_text() == "left\nright\n"
    (made.root / "adopted/sums/labels.txt").write_text("no\nyes\n")
    said = run(made, "plan", code=2)
    assert "~ lock sums/files" in said
    assert "Changed outside" not in said
    run(made, "export")
    run(made, "assemble")
    assert (made.root / "model_repository/sums/labels.txt").read_text() == "no\nyes\n"


def test_a_changed_artifact_is_refused(made: project.Project) -> None:
    """A file of a finished folder that is not the one that the spec names stops every command, and is named."""
    run(made, "export")
    (made.root / "adopted/sums/1/lengths.py").write_text("def total(values):\n    return values\n")
    said = run(made, "plan", code=4)
    assert "adopted/sums/1 is not the folder that the spec names" in said
    assert "lengths.py: expected" in said


def test_the_store_keeps_what_releases_need(made: project.Project) -> None:
    """Gc leaves the files beside configs that the lock names, and takes those that it names no more."""
    run(made, "export")
    before = {path.name for path in (made.root / ".pipeline/store").iterdir()}
    assert run(made, "gc") == "Nothing to remove.\n"
    (made.root / "adopted/sums/labels.txt").write_text("no\nyes\n")
    run(made, "export")
    run(made, "gc")
    after = {path.name for path in (made.root / ".pipeline/store").iterdir()}
    assert (len(before), len(after), len(before & after)) == (3, 3, 2)


def test_a_damaged_copy_is_seen(made: project.Project) -> None:
    """A bit that flips in the store's copy is seen before anything is assembled from it, and an export mends it."""
    run(made, "export")
    locked = json.loads((made.root / "pipeline.lock").read_text())
    copy = made.root / ".pipeline/store" / locked["models"]["sums"]["beside"]["key"] / "labels.txt"
    copy.chmod(0o644)
    copy.write_text("Left\nright\n")
    assert "the store's files of sums are damaged" in run(made, "assemble", code=4)
    run(made, "export")
    run(made, "assemble")


def test_the_reason_is_prose(made: project.Project) -> None:
    """Why a model cannot be asked shapes no byte: another reason changes nothing in the lock."""
    text = (made.root / "pipeline.yaml").read_text()
    run(made, "export")
    locked = (made.root / "pipeline.lock").read_text()
    (made.root / "pipeline.yaml").write_text(text.replace("it runs in Triton only", "it was asked too often"))
    run(made, "export")
    assert (made.root / "pipeline.lock").read_text() == locked


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[index_server.Index]:
    """A package index, pip's only one."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with index_server.serve() as found:
        monkeypatch.setenv("PIP_INDEX_URL", found.url)
        yield found


def with_wheel(made: project.Project, sha256: str) -> None:
    """Lets the Python model bring a package."""
    wheel = f"wheels: [{{name: measures, version: '1.0', sha256: {sha256}}}]"
    made.edit("file: {path: adopted/sums/1, files:", f"file: {{path: adopted/sums/1, {wheel}, files:")


def test_packages_lie_beside_the_model(made: project.Project, index: index_server.Index) -> None:
    """A wheel's packages get into the version's folder, pinned file by file; its scripts stay out."""
    parts = {
        "measures/__init__.py": b"SIZE = 3\n",
        "measures-1.0.data/platlib/low.py": b"",
        "measures-1.0.data/scripts/x": b"",
    }
    with_wheel(made, index.put("measures", "1.0", parts))
    assert "fetching the wheel measures 1.0" in run(made, "export")
    run(made, "assemble")
    there = {path.name for path in (made.root / "model_repository/sums/1").rglob("*") if path.is_file()}
    assert {"model.py", "__init__.py", "low.py", "METADATA"} <= there
    assert "x" not in there
    locked = json.loads((made.root / "pipeline.lock").read_text())["models"]["sums"]["versions"]["1"]
    assert locked["source"]["identity"]["wheels"][0]["name"] == "measures"
    assert "measures/__init__.py" in locked["files"]
    asked = len(index.asked)
    assert run(made, "export") == "Every artifact is built and locked.\n"
    assert len(index.asked) == asked


@pytest.mark.parametrize(
    ("parts", "code", "why"),
    [
        ({"../out.py": b""}, 1, "the wheel measures 1.0 has a file whose path leads outside"),
        ({"model.py": b""}, 1, "the wheel measures 1.0 has model.py, which is there already"),
        ({"measures.py": b"other"}, 4, "the package index has another measures 1.0 than the spec names"),
    ],
    ids=["outside", "twice", "other bytes"],
)
def test_a_wheel_that_cannot_lie_there(
    made: project.Project, index: index_server.Index, parts: dict[str, bytes], code: int, why: str
) -> None:
    """Row 12: a wheel with names that lead elsewhere, or with bytes that are not the pinned ones, is refused, and the
    store has nothing of it."""
    sha256 = index.put("measures", "1.0", parts)
    with_wheel(made, "0" * 64 if code == 4 else sha256)
    assert why in run(made, "export", "--model", "sums", code=code)
    assert not list((made.root / ".pipeline/store").glob("*/*"))
