"""`update`: the spec is edited to what is newer and fits, every comment kept, and the plan is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core import compat, matrix
from pipeline.edges import facts
from tests import index_server, project
from tests.edges import hub_server

OLD = "0123456789" * 4
HUB_FILES = {
    "config.json": json.dumps({"architectures": ["BertModel"]}).encode(),
    "model.safetensors": bytes(range(256)) * 16,
    "tokenizer.json": b"{}",
}
SPEC = """\
# What is served.
version: 1
target:
  image: nvcr.io/nvidia/tritonserver:23.08-py3   # judged in spring
  runtime: embedded
  gpus: none
  ports: {http: 18000, grpc: 18001, metrics: 18002}

models:
  words:  # of the index
    source:
      wheel:
        name: some-weights
        version: "1.0"  # the first
        sha256: SHA256
        path: pkg/model
    export: trace
    max_batch_size: 4
    inputs: {ids: {dtype: INT32, shape: [batch, 8], argument: input_ids}}
    outputs: {answer: {dtype: FP32, shape: [batch, 8, 32], result: last_hidden_state}}


  other:
    source: {hub: {repo: someone/model, revision: REVISION}}   # pinned
    export: trace
    max_batch_size: 4
    inputs: {ids: {dtype: INT32, shape: [batch, 8], argument: input_ids}}
    outputs: {answer: {dtype: FP32, shape: [batch, 8, 32], result: last_hidden_state}}
"""


@pytest.fixture
def index() -> Iterator[index_server.Index]:
    """A package index."""
    with index_server.serve() as made:
        yield made


@pytest.fixture
def hub() -> Iterator[hub_server.Hub]:
    """A model hub whose `main` is at COMMIT."""
    with hub_server.serve(dict(HUB_FILES)) as made:
        yield made


@pytest.fixture
def made(
    tmp_path: Path, index: index_server.Index, hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch
) -> project.Project:
    """A project of a wheel and a commit that are the newest ones, and an old image."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "HF_TOKEN", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    made = project.make(tmp_path / "project")
    sha256 = index.put("some-weights", "1.0")
    write(made, SPEC.replace("SHA256", sha256).replace("REVISION", OLD))
    return made


def write(made: project.Project, text: str) -> None:
    """Sets the spec."""
    (made.root / "pipeline.yaml").write_text(text)


def read(made: project.Project) -> str:
    """The spec."""
    return (made.root / "pipeline.yaml").read_text()


def test_everything_that_is_newer(made: project.Project, index: index_server.Index) -> None:
    """Image, wheel and commit are written in place, with not one other byte changed, and the plan is of the new spec;
    a second run finds nothing. `--check` writes nothing, and exits with 2."""
    before = read(made)
    sha256 = index.put("some-weights", "1.10")
    told = made.run("update", "--check")
    assert (told.returncode, read(made)) == (2, before), told.stderr
    newest = told.stdout.partition(" -> ")[2].partition("\n")[0]
    assert compat.SECURITY_FLOOR < newest <= matrix.parse(facts.releases())[-1].tag
    assert told.stdout.splitlines() == [
        f"~ target.image: nvcr.io/nvidia/tritonserver 23.08 -> {newest}",
        "~ models.words.source.wheel: some-weights 1.0 -> 1.10",
        f"~ models.other.source.hub: someone/model {OLD[:12]} -> {hub_server.COMMIT[:12]} (the newest of main)",
    ]
    done = made.run("update")
    assert done.returncode == 0, done.stderr
    old = before.partition("sha256: ")[2].partition("\n")[0]
    expected = before.replace("23.08-py3", f"{newest}-py3").replace('"1.0"', '"1.10"').replace(old, sha256)
    assert read(made) == expected.replace(OLD, hub_server.COMMIT)
    assert "Planned changes:" in done.stdout
    assert done.stdout.count("needs an export") == 2
    again = made.run("update", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["updates"] == []
    assert not (made.root / "pipeline.lock").exists()


def test_one_model(made: project.Project, index: index_server.Index) -> None:
    """With --model its own sources are asked for, and nothing else: the image is everybody's."""
    index.put("some-weights", "2.0")
    found = json.loads(made.run("update", "--check", "--json", "--model", "words").stdout)
    assert [(each["kind"], each["before"], each["after"]) for each in found["updates"]] == [("wheel", "1.0", "2.0")]
    assert found["written"] is False


def test_what_is_not_taken(made: project.Project, index: index_server.Index) -> None:
    """Row 73: a yanked wheel, a pre-release, and one of the same name in an index that the user does not name are no
    newer ones."""
    index.put("some-weights", "3.0")
    index.put("some-weights", "2.0rc1")
    index.yanked.add("some_weights-3.0-py3-none-any.whl")
    with index_server.serve() as shadow:
        shadow.put("some-weights", "9.0")
        found = json.loads(made.run("update", "--check", "--json", "--model", "words").stdout)
        assert shadow.asked == []
    assert (found["updates"], found["findings"]) == ([], [])


def test_a_wheel_that_does_not_fit(made: project.Project, index: index_server.Index) -> None:
    """A newer wheel that has the model no more is told and left as it is; what else is newer is written."""
    index.put("some-weights", "2.0", {"pkg/elsewhere/config.json": b"{}"})
    done = made.run("update", "--model", "words", "--model", "other")
    assert done.returncode == 0, done.stderr
    assert "models.words.source.wheel stays as it is: the wheel has no folder pkg/model" in done.stderr
    assert '"1.0"' in read(made)
    assert hub_server.COMMIT in read(made)


def test_a_commit_that_does_not_fit(made: project.Project, hub: hub_server.Hub) -> None:
    """Row 13: a newer commit that has pickled weights alone is told and left as it is."""
    hub.files["pytorch_model.bin"] = hub.files.pop("model.safetensors")
    before = read(made)
    done = made.run("update", "--check", "--model", "other")
    assert (done.returncode, read(made)) == (0, before)
    assert "models.other.source.hub stays as it is: someone/model has only pickled weights" in done.stderr


def test_nobody_answers(made: project.Project) -> None:
    """Row 63: an index that cannot be asked is told, without the password in its address; nothing is written."""
    before = read(made)
    broken = "http://me:canary@127.0.0.1:9/simple"
    done = made.run("update", "--model", "words", PIP_INDEX_URL=broken, PIP_RETRIES="0", PIP_TIMEOUT="2")
    assert (done.returncode, read(made)) == (0, before)
    assert "pip could not tell the newest some-weights" in done.stderr
    assert "canary" not in done.stdout + done.stderr


def test_a_driver_is_judged(made: project.Project) -> None:
    """The image is the newest that the named machine runs, by doctor's rules."""
    words = ("--driver", "535.104.05", "--gpu", "NVIDIA A100")
    found = json.loads(made.run("update", "--check", "--json", *words).stdout)["updates"]
    advice = json.loads(made.run("doctor", "--recommend", "--json", *words).stdout)["recommendation"]["tag"]
    assert [each["after"] for each in found if each["kind"] == "image"] == ([advice] if advice > "23.08" else [])
    bad = made.run("update", "--check", "--driver", "new")
    assert bad.returncode == 3
    assert "is not the version of an NVIDIA driver" in bad.stderr
