"""`render` as a user runs it: configs without a build, and the server as a run line and a compose file."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.core import config, lock
from tests import project

SCHEMA = json.loads((project.HOME / "schemas" / "rendering.schema.json").read_text())
IMAGE = "nvcr.io/nvidia/tritonserver:23.08-py3"
DIGEST = f"{IMAGE}@sha256:{'5' * 64}"
TWO = project.SPEC + project.SPEC[project.SPEC.index("  tiny:") :].replace("tiny", "other")


@pytest.fixture
def made(tmp_path: Path) -> project.Project:
    """A project with two models, of which nothing is built."""
    return project.make(tmp_path / "project", TWO)


def document(made: project.Project, *words: str) -> Any:
    """What `render --json` prints."""
    found = json.loads(made.good("render", "--json", *words))
    jsonschema.validate(found, SCHEMA)
    return found


def pin(made: project.Project, image: str) -> None:
    """A lock with an image in it, and no model."""
    name, _, digest = image.partition("@")
    pinned = lock.Image(reference=name, digest=digest)
    (made.root / "pipeline.lock").write_bytes(lock.dump(lock.Lock(image=pinned, toolchain={}, models={})))


def test_configs_without_a_build(made: project.Project) -> None:
    """Each model's config is printed whole, but for the digest, which is not known; nothing is written."""
    before = sorted(made.root.rglob("*"))
    ended = made.run("render")
    assert ended.returncode == 0
    assert "the digest of other, tiny is not known before the next `lock`" in ended.stderr
    found = document(made)
    assert found["unlocked"] == ["other", "tiny"]
    assert ended.stdout == "\n".join(
        f"# model_repository/{name}/config.pbtxt\n{found['configs'][name]}" for name in ("tiny", "other")
    )
    read = config.parse(ended.stdout.partition("\n\n")[0])
    assert (read["name"], read["max_batch_size"], read["platform"]) == ("tiny", 4, "pytorch_libtorch")
    assert "pipeline_digest" not in ended.stdout
    assert sorted(made.root.rglob("*")) == before


def test_one_model(made: project.Project) -> None:
    """With --model there is the one config, to be read by Triton as it is."""
    text = made.good("render", "--model", "other")
    assert config.parse(text)["name"] == "other"
    assert "tiny" not in text
    assert list(document(made, "--model", "other")["configs"]) == ["other"]


def test_a_source_that_is_not_at_hand(made: project.Project) -> None:
    """What cannot be resolved costs the digests, is told, and no config is lost."""
    (made.root / "models.py").unlink()
    ended = made.run("render")
    assert ended.returncode == 0
    assert "models" in ended.stderr.splitlines()[0]
    assert "Traceback" not in ended.stderr
    assert ended.stdout.count("config.pbtxt") == 2


def test_the_run_line(made: project.Project) -> None:
    """The line has the spec's image, ports and GPUs, the repository's parent read-only, and loads every model."""
    text = made.good("render", "--docker-run")
    words = shlex.split(text.replace("\\\n", ""))
    assert words[:3] == ["docker", "run", "--detach"]
    assert f"--mount=type=bind,source={made.root},target=/models,readonly" in words
    assert f"--publish=127.0.0.1:{made.ports[0]}:8000/tcp" in words
    assert {"--gpus=all", "--cap-drop=ALL", "--read-only", "--user=1000:1000"} <= set(words)
    assert words[words.index(IMAGE) + 1] == "tritonserver"
    assert {"--model-repository=/models/model_repository", "--load-model=other", "--load-model=tiny"} <= set(words)
    assert not [word for word in words if word.startswith("--label")]
    assert document(made, "--docker-run") == {
        "format": 1,
        "configs": {},
        "unlocked": [],
        "docker_run": text,
        "compose": None,
    }


def test_the_compose_file(made: project.Project) -> None:
    """The compose file is the same server; with --model it loads that one."""
    text = made.good("render", "--compose", "--model", "tiny")
    service = yaml.safe_load(text)["services"]["triton"]
    assert service["image"] == IMAGE
    assert [(each["source"], each["read_only"]) for each in service["volumes"]] == [(str(made.root), True)]
    loads = [word for word in service["command"] if word.startswith("--load-model")]
    assert loads == ["--load-model=tiny"]
    assert document(made, "--compose", "--model", "tiny")["compose"] == text


@pytest.mark.parametrize(
    ("locked", "printed"),
    [(DIGEST, DIGEST), (IMAGE, IMAGE), (DIGEST.replace("23.08", "23.07"), IMAGE)],
    ids=["pinned", "not pinned", "of another image"],
)
def test_the_image_is_the_locked_one(made: project.Project, locked: str, printed: str) -> None:
    """Where the lock pins the spec's image by digest, that is what runs elsewhere; another image's digest is not."""
    pin(made, locked)
    assert printed in shlex.split(made.good("render", "--docker-run").replace("\\\n", ""))


def test_one_shape_at_a_time(made: project.Project) -> None:
    """Asking for both is a usage error, told in a line."""
    ended = made.run("render", "--docker-run", "--compose")
    assert ended.returncode == 2
    assert "not allowed with" in ended.stderr


def test_what_is_open_is_warned_of(made: project.Project) -> None:
    """An address off the loopback one is warned of on standard error, and printed as asked."""
    made.edit("  ready_timeout", "  container: {address: 0.0.0.0}\n  ready_timeout")
    ended = made.run("render", "--docker-run")
    assert "warning: target.container.address is 0.0.0.0" in ended.stderr
    assert f"--publish=0.0.0.0:{made.ports[0]}:8000/tcp" in ended.stdout
