"""`validate` as a user runs it: the image that the spec names, judged by the table, the same on every machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import jsonschema
import pytest

from pipeline.core import build, lock
from tests import project

HOME = project.HOME
SCHEMA = json.loads((HOME / "schemas" / "validation.schema.json").read_text())
IMAGE = "nvcr.io/nvidia/tritonserver:23.08-py3"


@pytest.fixture
def made(tmp_path: Path) -> project.Project:
    """The tiny project; its image is the tutorial's."""
    return project.make(tmp_path / "project")


def place(made: project.Project, word: str) -> str:
    """Where a word stands in the spec, as messages say it."""
    for number, line in enumerate((made.root / "pipeline.yaml").read_text().splitlines(), 1):
        if word in line:
            return f"pipeline.yaml:{number}:{line.index(word) + 1}"
    raise AssertionError(word)


def test_the_sample_spec_is_valid_with_warnings(tmp_path: Path) -> None:
    """The tutorial's image, which is old, is warned of and nothing more; standard output stays as it was."""
    for name in ("pipeline.yaml", "pipeline.lock", "requirements/torch.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(HOME / name, tmp_path / name)
    sample = project.Project(root=tmp_path, ports=(0, 0, 0))
    ended = sample.run("validate")
    assert ended.returncode == 0
    assert ended.stdout == "pipeline.yaml is valid: 4 models, 5 versions.\n"
    assert f"{place(sample, IMAGE)}: warning: the release 23.08 has known security holes" in ended.stderr
    assert "error" not in ended.stderr
    assert not (tmp_path / ".pipeline").exists()


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("tritonserver:", "tritonsever:", "`nvcr.io/nvidia/tritonsever` is not NVIDIA's", f"`{IMAGE}`"),
        ("23.08-py3", "23.8-py3", "NVIDIA's Triton image has no tag `23.8-py3`", "`23.08-py3`"),
        ("23.08-py3\n", "23.08-py3\n  policy: strict\n", "23.08 has known security holes", "Take 26.06"),
    ],
)
def test_what_cannot_be(made: project.Project, old: str, new: str, message: str, hint: str) -> None:
    """A misspelt image, a tag that is none, and a strict policy's security floor are errors with the spec's line."""
    made.edit(old, new)
    ended = made.run("validate")
    assert ended.returncode == 3
    assert ended.stdout == ""
    assert re.search(rf"^{re.escape(place(made, 'nvcr'))}: error: .*{re.escape(message)}", ended.stderr, re.MULTILINE)
    assert hint in ended.stderr
    assert "Traceback" not in ended.stderr
    failure = json.loads(made.run("validate", "--json").stdout)
    assert failure["error"] == "pipeline.yaml has 1 fault"
    assert failure["findings"][0]["where"]["path"] == "target.image"


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("23.08-py3", "26.08-vllm-python-py3", "image-variant-unknown"),
        ("23.08-py3", "26.08-py3-sdk", "image-variant-unknown"),
        ("23.08-py3", "27.01-py3", "image-tag-unknown"),
        ("23.08-py3", "latest", "image-tag-unknown"),
        (IMAGE, "triton-pipeline-cpu:0.1.0", "image-unknown"),
    ],
)
def test_what_nobody_knows_is_a_warning(made: project.Project, old: str, new: str, rule: str) -> None:
    """Variants, unknown tags and images of others are warned of and never called fine."""
    made.edit(old, new)
    document = json.loads(made.good("validate", "--json"))
    jsonschema.validate(document, SCHEMA)
    assert document["valid"] is True
    first = document["findings"][0]
    assert (first["rule"], first["severity"], first["where"]["path"]) == (rule, "warning", "target.image")


def test_an_open_address_is_warned_of(made: project.Project) -> None:
    """Ports off the loopback address are named where the spec opens them."""
    made.edit("  ready_timeout", "  container: {address: 0.0.0.0}\n  ready_timeout")
    ended = made.run("validate")
    assert ended.returncode == 0
    assert f"{place(made, '0.0.0.0')}: warning: target.container.address is 0.0.0.0" in ended.stderr


def put(made: project.Project, code: str) -> None:
    """A lock that has version 2, and its artifact with this code in the store."""
    key = "ab" * 32
    source = build.Resolved(kind="factory", identity={})
    version = lock.Version(source=source, key=key, files={}, golden="0" * 64)
    model = lock.Model(digest="sha256:0", config="0", versions={"2": version})
    (made.root / "pipeline.lock").write_bytes(
        lock.dump(lock.Lock(image=lock.image(None, IMAGE), toolchain={}, models={"tiny": model}))
    )
    folder = made.root / ".pipeline" / "store" / key
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "model.pt", "w") as archive:
        archive.writestr("model/code/__torch__.py", code)


def test_operators_of_what_is_built(made: project.Project) -> None:
    """A locked artifact that calls what the image's torch lacks is an error at its version; others are only open."""
    put(made, "torch.rms_norm(x, [4], w)")
    ended = made.run("validate", "--json")
    assert ended.returncode == 3
    found = {each["rule"]: each for each in json.loads(ended.stdout)["findings"]}
    assert found["torchscript-operator"]["version"] == 2
    assert found["torchscript-operator"]["where"]["path"] == "models.tiny.versions.2"
    assert found["torchscript-unknown"]["version"] == 1
    assert f"{place(made, '2: {source')}: error: " in ended.stderr


def test_artifacts_that_fit_are_not_mentioned(made: project.Project) -> None:
    """What is built and calls only what the image has is silent."""
    put(made, "torch.add(x, y)")
    made.edit("      2: {{source".replace("{{", "{"), "      2: {export: script, source")
    found = json.loads(made.good("validate", "--json"))["findings"]
    assert [(each["rule"], each.get("version")) for each in found] == [
        ("torchscript-unknown", 1),
        ("security-floor", None),
    ]


def test_a_damaged_artifact_is_open(made: project.Project) -> None:
    """An archive that cannot be read tells nothing, and is no traceback."""
    put(made, "")
    (made.root / ".pipeline/store" / ("ab" * 32) / "model.pt").write_bytes(b"PK\x03\x04 no")
    found = json.loads(made.good("validate", "--json"))["findings"]
    assert [(each["rule"], each.get("version")) for each in found] == [
        ("torchscript-unknown", None),
        ("security-floor", None),
    ]


def test_only_the_chosen_models_count(tmp_path: Path) -> None:
    """With --model, what is said of other models stays out."""
    text = project.SPEC + project.SPEC[project.SPEC.index("  tiny:") :].replace("tiny", "other")
    made = project.make(tmp_path / "project", text)
    everything = json.loads(made.good("validate", "--json"))["findings"]
    assert {each.get("model") for each in everything} == {"tiny", "other", None}
    chosen = json.loads(made.good("validate", "--json", "--model", "other"))["findings"]
    assert {each.get("model") for each in chosen} == {"other", None}


def test_github_shows_warnings_beside_their_lines(made: project.Project) -> None:
    """Under GitHub Actions warnings are annotations, and errors of a strict policy too."""
    line = place(made, IMAGE).split(":")[1]
    ended = made.run("validate", GITHUB_ACTIONS="true")
    assert ended.returncode == 0
    assert f"::warning file=pipeline.yaml,line={line},col=10::the release 23.08 has known" in ended.stderr
    made.edit("23.08-py3\n", "23.08-py3\n  policy: strict\n")
    ended = made.run("validate", GITHUB_ACTIONS="true")
    assert ended.returncode == 3
    assert f"::error file=pipeline.yaml,line={line},col=10::the release 23.08 has known" in ended.stderr


def test_no_machine_is_asked(made: project.Project, tmp_path: Path) -> None:
    """The verdict is the spec's: no driver, no engine and no torch is looked for."""
    (tmp_path / "bin").mkdir()
    spy = tmp_path / "bin" / "nvidia-smi"
    spy.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\n")
    spy.chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    first = made.run("validate", "--json", PATH=path, DOCKER_HOST="unix:///nowhere", PIPELINE_TORCH_PYTHON="/nowhere")
    assert first.returncode == 0, first.stderr
    assert not (tmp_path / "asked").exists()
    assert first.stdout == made.good("validate", "--json")


def test_without_pins_the_torch_is_open(made: project.Project) -> None:
    """A project that pins no toolchain is judged nevertheless."""
    shutil.rmtree(made.root / "requirements")
    found = json.loads(made.good("validate", "--json"))["findings"]
    assert "it is of torch (unknown)" in found[0]["message"]


def test_other_commands_do_not_pay_for_it(made: project.Project) -> None:
    """A plan imports nothing of what judges images and machines."""
    code = "import sys; from pipeline import cli; cli.main(['plan']); print(*sorted(sys.modules))"
    loaded = set(made.python(code).stdout.splitlines()[-1].split())
    assert "pipeline.reconcile.judging" in loaded
    rooms = {f"pipeline.core.{name}" for name in ("compat", "formats", "doctor", "checks", "matrix", "image_facts")}
    assert not loaded & (rooms | {"pipeline.stages.doctor", "pipeline.stages.validate", "pipeline.edges.machine"})
