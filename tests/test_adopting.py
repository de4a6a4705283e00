"""`adopt`, as a user runs it: a repository becomes a spec, and nothing in its configs changes by that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import config
from tests import finished, project

HERE = Path(__file__).parent / "repositories"
CASES = sorted(path.name for path in HERE.iterdir() if path.is_dir())
IMAGE = "nvcr.io/nvidia/tritonserver:24.10-py3"


def place(root: Path, case: str) -> project.Project:
    """A project of nothing but a repository, in `old`."""
    root.mkdir()
    shutil.copytree(HERE / case, root / "old")
    shutil.copytree(project.HOME / "requirements", root / "requirements")
    return project.Project(root=root, ports=project.free_ports())


@pytest.mark.parametrize("case", CASES)
def test_the_spec_of_a_repository(case: str, tmp_path: Path) -> None:
    """A repository of files gives the spec beside it, to the letter, and nothing is written."""
    made = place(tmp_path / "project", case)
    said = made.run("adopt", "old", "--image", IMAGE)
    assert (said.returncode, said.stdout) == (0, (HERE / f"{case}.yaml").read_text(encoding="utf-8")), said.stderr
    assert sorted(path.name for path in made.root.iterdir()) == ["old", "requirements"]


def test_the_spec_is_written_once(tmp_path: Path) -> None:
    """`--out` makes a new file, which is valid, and never writes over one that is there."""
    made = place(tmp_path / "project", "frameworks")
    said = made.good("adopt", "old", "--image", IMAGE, "--out", "pipeline.yaml")
    assert said == "Wrote pipeline.yaml, which has 5 models: `plan` shows that nothing in them changes.\n"
    assert "pipeline.yaml is valid: 5 models, 7 versions." in made.good("validate")
    text = (made.root / "pipeline.yaml").read_text()
    again = made.run("adopt", "old", "--out", "pipeline.yaml")
    assert (again.returncode, "pipeline.yaml is there already" in again.stderr) == (1, True)
    assert (made.root / "pipeline.yaml").read_text() == text


def test_the_image_is_assumed_where_nobody_names_it(tmp_path: Path) -> None:
    """Without --image the spec names the first release without known holes, and says that this is a guess."""
    said = place(tmp_path / "project", "chain").good("adopt", "old")
    assert '  # Nobody has said which image serves these models: write the one that does.\n  image: "nvcr.io' in said


def test_some_models(tmp_path: Path) -> None:
    """`--model` adopts those alone; as JSON the text and their names come out."""
    made = place(tmp_path / "project", "frameworks")
    found = json.loads(made.good("adopt", "old", "--model", "words", "--model", "torch", "--json"))
    assert found["models"] == ["torch", "words"]
    assert found["spec"].count("\n    source:") == 2
    said = made.run("adopt", "old", "--model", "word")
    assert said.returncode == 1
    assert "old has no model word" in said.stderr
    assert "It has keras, ranker, resnet, torch, words." in said.stderr


def spoil(root: Path) -> None:
    """Two models that cannot be adopted."""
    (root / "old/words/1/model.py").rename(root / "model.py")
    (root / "old/words/1/model.py").symlink_to(root / "model.py")
    (root / "old/ranker/config.pbtxt").write_text('backend: "openvino"\n')


def test_what_cannot_be_adopted(tmp_path: Path) -> None:
    """Every reason is told at once, nothing is written, and how to adopt the others is said."""
    made = place(tmp_path / "project", "frameworks")
    spoil(made.root)
    said = made.run("adopt", "old", "--out", "pipeline.yaml")
    assert (said.returncode, said.stdout) == (1, "")
    assert "2 of 5 models cannot be adopted" in said.stderr
    assert "model words: error: 1/model.py is a link" in said.stderr
    assert "model ranker: error: its config has no inputs" in said.stderr
    assert "adopt the others: --model keras --model resnet --model torch" in said.stderr
    assert not (made.root / "pipeline.yaml").exists()


PLACES = {
    "nowhere": ("lost", "there is no folder"),
    "a file": ("old/resnet/labels.txt", "there is no folder"),
    "outside": ("..", "names nothing outside of its folder"),
    "the project itself": (".", "names nothing outside of its folder"),
    "where the pipeline writes": ("model_repository", "is where the pipeline itself writes"),
    "no repository": ("old/resnet/1", "has no model"),
}


@pytest.mark.parametrize("where", PLACES)
def test_where_no_repository_is(where: str, tmp_path: Path) -> None:
    """A folder that cannot be adopted is refused with what to do, without a traceback."""
    made = place(tmp_path / "project", "frameworks")
    (made.root / "model_repository").mkdir()
    name, message = PLACES[where]
    said = made.run("adopt", name)
    assert (said.returncode, said.stdout) == (1, "")
    assert message in said.stderr
    assert "hint: " in said.stderr


def configs(folder: Path) -> dict[str, dict[str, Any]]:
    """Every config in a repository, without the pipeline's own parameter."""
    found = {}
    for path in folder.glob("*/config.pbtxt"):
        data = config.parse(path.read_text())
        data.get("parameters", {}).pop(config.DIGEST, None)
        if not data.get("parameters", True):
            del data["parameters"]
        found[path.parent.name] = data
    return found


@pytest.mark.parametrize("case", ["chain", "silent", "frameworks"])
def test_the_plan_after_it_changes_no_field(case: str, tmp_path: Path) -> None:
    """What is adopted, copied and assembled is the repository that was there: the same files, and equal configs."""
    made = place(tmp_path / "project", case)
    models = [] if case != "frameworks" else ["--model", "resnet", "--model", "ranker", "--model", "keras"]
    made.good("adopt", "old", "--out", "pipeline.yaml", *models)
    made.good("export")
    shutil.copytree(made.root / "old", made.root / "model_repository")
    said = made.run("plan")
    assert said.returncode == 2
    assert "config.pbtxt: " not in said.stdout
    shutil.rmtree(made.root / "model_repository")
    made.good("assemble")
    old, new = configs(made.root / "old"), configs(made.root / "model_repository")
    for name, data in new.items():
        assert data == {**old[name], "name": name}
        kept = files(made.root / "model_repository" / name)
        assert kept == {path: text for path, text in files(made.root / "old" / name).items() if path in kept}


def files(folder: Path) -> dict[str, str]:
    """Everything in a folder but its config."""
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    return {path: text for path, text in found.items() if path != "config.pbtxt"}


def test_the_pipelines_own_repository(tmp_path: Path) -> None:
    """What the pipeline has made it can adopt: the repository that follows differs in nothing but the digests."""
    made = finished.make(tmp_path / "project")
    made.good("export")
    made.good("assemble")
    (made.root / "model_repository").rename(made.root / "old")
    before = configs(made.root / "old")
    for name in ("pipeline.yaml", "pipeline.lock"):
        (made.root / name).unlink()
    made.good("adopt", "old", "--out", "pipeline.yaml")
    made.good("export")
    made.good("assemble")
    assert configs(made.root / "model_repository") == before
    for name in before:
        assert files(made.root / "model_repository" / name) == files(made.root / "old" / name)
