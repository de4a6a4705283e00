"""The CPU image on a real engine: it is built by the command, asked once, shut in, and judged by what it tells."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pipeline.core import image_facts, options
from pipeline.edges import docker
from pipeline.edges.docker import build, probe
from tests import engine as engines
from tests import project
from tests.real import containers

pytestmark = pytest.mark.real


def left(engine: docker.Engine) -> list[str]:
    """The containers that ask and are still there."""
    return [str(each["Id"]) for each in engine.api.containers(all=True, filters={"label": image_facts.LABEL})]


def test_the_cpu_image_tells(
    engine: docker.Engine, image: docker.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Python, backends and torch are told by itself, nothing is left, and without an engine it is still known."""
    told = probe.tell(build.TAG, image, folder=tmp_path, say=lambda _: None)
    assert told.inside
    assert told.inside.python.startswith("3.11.")
    assert told.inside.backends["python"] == ""
    assert told.inside.backends["pytorch"].startswith("2.13.0")
    assert told.inside.aoti is None
    assert left(engine) == []
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    assert probe.tell(build.TAG, image, folder=tmp_path, say=lambda _: None) == told


def test_the_question_is_as_it_was_decided(engine: docker.Engine, image: docker.Image) -> None:
    """The engine has the question's container with every option, and there is no way out of it."""
    wanted = image_facts.question("triton-question-test", build.TAG, image.id)
    waiting = msgspec.structs.replace(wanted, command=("sleep", "60"))
    with containers.running(engine, waiting) as found:
        assert options.differences(waiting, found.has, inherited=found.inherited) == ()
        links = Path(f"/proc/{found.state.pid}/net/dev").read_text().splitlines()[2:]
        assert [line.split(":")[0].strip() for line in links] == ["lo"]


def test_doctor_asks_the_image(engine: docker.Engine, image: docker.Image, tmp_path: Path) -> None:
    """The first `doctor` asks the image and keeps the answer; the next one knows it, and says the same."""
    made = project.make(tmp_path / "project")
    made.edit("nvcr.io/nvidia/tritonserver:23.08-py3", build.TAG)
    made.edit("runtime: embedded", "runtime: docker\n  gpus: none")
    first, second = made.run("doctor", "--json"), made.run("doctor", "--json")
    assert f"asking the image {build.TAG} itself, once" in first.stderr
    assert second.stderr == ""
    checks = {check["rule"]: check for check in json.loads(first.stdout)["checks"]}
    assert "backends python, pytorch" in checks["image-told"]["found"]
    assert checks["image-unknown"]["state"] == "warning"
    assert "backend-missing" not in checks
    again = json.loads(second.stdout)["checks"]
    assert {check["rule"] for check in again} == set(checks)
    assert left(engine) == []


def test_the_command_builds_it(engine: docker.Engine, image: docker.Image) -> None:
    """`image --base REF` has the very image that these inputs give, and says what it stands on."""
    base = engines.base(engine)
    here = project.Project(root=project.HOME, ports=(0, 0, 0))
    ended = here.run("image", "--base", base, "--json")
    assert ended.returncode == 0, ended.stderr
    made = json.loads(ended.stdout)
    assert (made["tag"], made["id"]) == (build.TAG, image.id)
    assert made["inputs"] == image.labels[build.INPUTS]
    assert f"the base {base} is {made['base']}" in ended.stderr
