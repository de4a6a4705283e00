"""A new project: what `init` writes is whole and valid, and it never overwrites anything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.core import beginning, errors, parse, spec
from tests import faults
from tests.edges import hub_server

ROOT = Path(__file__).parents[1]
CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 8,
    "max_position_embeddings": 64,
    "id2label": {"0": "a", "1": "b", "2": "c"},
}


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m pipeline init WORDS` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "init", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def validated(folder: Path) -> str:
    """What `validate` says of a project."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "validate"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(folder: Path) -> spec.Spec:
    """The spec that was written."""
    return parse.parse_spec((folder / "pipeline.yaml").read_bytes(), file="pipeline.yaml")


def test_an_empty_folder(tmp_path: Path) -> None:
    """Everything is there, the spec has its modeline, and it is valid; a second `init` changes nothing."""
    done = run(tmp_path, "models", "--pipeline", "triton-pipeline @ git+https://git.example/p@0123")
    assert done.returncode == 0, done.stderr
    made = tmp_path / "models"
    assert validated(made).startswith("pipeline.yaml is valid: 1 models")
    assert (made / "pipeline.yaml").read_text().startswith("# yaml-language-server: $schema=schemas/")
    assert (made / "requirements/pipeline.txt").read_text() == "triton-pipeline @ git+https://git.example/p@0123\n"
    assert (made / "schemas/pipeline.schema.json").read_text() == (ROOT / "schemas/pipeline.schema.json").read_text()
    assert {"README.md", "noxfile.py", ".gitignore", ".pre-commit-config.yaml"} <= {
        each.name for each in made.iterdir()
    }
    before = faults.contents(made)
    assert run(tmp_path, "models", "--pipeline", "triton-pipeline @ git+https://git.example/p@0123").returncode == 0
    assert faults.contents(made) == before


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """One file of another text, and nothing at all is written; other files do not matter."""
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "other.txt").write_text("mine too")
    done = run(tmp_path)
    assert done.returncode == 1
    assert "README.md is there already" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "other.txt"]


@pytest.mark.parametrize("name", ["requirements", ".github", "noxfile.py"])
def test_nothing_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    """A link in the place of a file or a folder leads elsewhere: refused, and nothing is written there."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / name).symlink_to(tmp_path / "elsewhere" / "x")
    done = run(tmp_path / "new")
    assert done.returncode == 1
    assert "is a link" in done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_of_weights(tmp_path: Path) -> None:
    """Names, shapes and bounds come from config.json; with a tokenizer goldens are texts."""
    weights = tmp_path / "weights" / "My.Model"
    weights.mkdir(parents=True)
    (weights / "config.json").write_text(json.dumps(CONFIG))
    (weights / "tokenizer.json").write_text("{}")
    assert run(tmp_path, "--weights", "weights/My.Model").returncode == 0
    model = read(tmp_path).models["my_model"]
    assert model.outputs["logits"].shape == ("batch", 3)
    assert model.axes["sequence"].max == 64
    assert model.golden.texts
    assert model.versions[1].source.path == spec.PathSource(folder="weights/My.Model")


@pytest.mark.parametrize(
    ("config", "words", "says"),
    [
        (CONFIG | {"architectures": ["ViTForImageClassification"]}, ["--weights", "weights"], "cannot be told"),
        (CONFIG | {"architectures": None}, ["--weights", "weights"], "cannot be told"),
        (CONFIG | {"architectures": ["BertModel"], "hidden_size": "x"}, ["--weights", "weights"], "does not say"),
        (CONFIG, ["--weights", "nowhere"], "no config.json"),
        (CONFIG, ["--weights", ".."], "names nothing outside"),
        (CONFIG, ["--repository", "nowhere"], "there is no folder"),
    ],
)
def test_what_cannot_be_begun_with(tmp_path: Path, config: object, words: list[str], says: str) -> None:
    """What a spec cannot be made of is told, with a way on, and nothing is written."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text(json.dumps(config))
    done = run(tmp_path, *words)
    assert done.returncode == 1
    assert says in done.stderr
    assert "hint: " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_a_model_of_a_hub(tmp_path: Path) -> None:
    """A branch becomes the commit that it is now."""
    files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": b"w", "tokenizer.json": b"{}"}
    with hub_server.serve(files) as hub:
        done = run(tmp_path, "--hub", "someone/Model", HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    source = read(tmp_path).models["model"].versions[1].source.hub
    assert source is not None
    assert (source.repo, source.revision) == ("someone/Model", hub_server.COMMIT)


def test_an_existing_repository(tmp_path: Path) -> None:
    """What is adopted is valid, and keeps the modeline."""
    shutil.copytree(ROOT / "tests" / "repositories" / "chain", tmp_path / "chain")
    done = run(tmp_path, "--repository", "chain", "--image", "nvcr.io/nvidia/tritonserver:24.10-py3")
    assert done.returncode == 0, done.stderr
    assert read(tmp_path).models
    assert (tmp_path / "pipeline.yaml").read_text().startswith(beginning.MODELINE)


def test_workflows_give_nothing_away(tmp_path: Path) -> None:
    """Row 71: the strictest audit of zizmor finds nothing in what `init` writes, and GitHub's schema holds."""
    assert run(tmp_path).returncode == 0
    programs = Path(sys.executable).parent
    workflows = sorted((tmp_path / ".github" / "workflows").iterdir())
    for words in (
        ["zizmor", "--offline", "--no-config", "--persona", "auditor", "."],
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, workflows)],
    ):
        done = subprocess.run(
            [programs / words[0], *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_sessions_are_ours_without_our_own(tmp_path: Path) -> None:
    """The noxfile has every command of the program, none of our own work, and nothing that it does not use."""
    assert run(tmp_path).returncode == 0
    programs = Path(sys.executable).parent
    listed = subprocess.run(
        [programs / "nox", "--list"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert "* validate ->" in listed
    assert "- provenance ->" in listed
    assert not any(f"- {name} ->" in listed for name in ("lint", "tests", "pins", "schemas", "benchmarks"))
    done = subprocess.run([programs / "ruff", "check", "--isolated", "noxfile.py"], cwd=tmp_path, check=False)
    assert done.returncode == 0


def test_settings_are_yaml(tmp_path: Path) -> None:
    """The hooks are what pre-commit reads."""
    hooks = yaml.safe_load(beginning.HOOKS)["repos"][0]["hooks"]
    assert hooks[0]["entry"] == "nox -s validate"


@pytest.mark.parametrize(
    ("text", "name"),
    [("team/All-MiniLM.L6", "all-minilm_l6"), ("weights/", "weights"), ("...", "model"), ("a/`x`${{y}}", "x_y")],
)
def test_names_of_models(text: str, name: str) -> None:
    """A name is made of what Triton, a path and a workflow take as it is."""
    assert beginning.model_name(text) == name


def test_a_damaged_config() -> None:
    """What is no JSON is an error."""
    with pytest.raises(errors.PipelineError, match=r"config\.json cannot be read"):
        beginning.spec(beginning.Weights(name="m", source={}, config=b"{", tokenizer=False), image="i")
