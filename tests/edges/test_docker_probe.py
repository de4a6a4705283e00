"""An image is asked once: by a container that is gone in the end, whatever it or the engine does."""

from __future__ import annotations

import copy
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import errors, image_facts
from pipeline.edges import docker
from pipeline.edges.docker import probe
from tests.edges import engine_stub as stub
from tests.edges import test_docker_containers as containers

ID = containers.ID
IMAGE = docker.Image(
    id="sha256:" + "1" * 64,
    digests=(),
    os="linux",
    architecture="amd64",
    environment={"CUDA_VERSION": "12.2.1", "SECRET": "canary"},
    labels={},
    size=1,
)
ANSWER = b'triton-pipeline:{"python":"3.10.12","ubuntu":"22.04","backends":{"pytorch":""},"aoti":false}\n'
REMOVED = f"DELETE /containers/{ID}"


@pytest.fixture
def socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the engine is."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'engine.sock'}")
    return tmp_path / "engine.sock"


def answers(said: bytes = ANSWER, status: str = "exited") -> dict[str, Any]:
    """An engine on which the container says something and is in a state."""
    told = copy.deepcopy(containers.TOLD)
    told["State"]["Status"] = status
    return {
        "GET /containers/json": (200, []),
        **containers.CREATED,
        f"POST /containers/{ID}/start": (204, b""),
        f"GET /containers/{ID}/json": (200, told),
        "GET /images/sha256:1/json": (200, {"Config": {"Env": []}}),
        f"GET /containers/{ID}/logs": (200, struct.pack(">BxxxL", 1, len(said)) + said),
        REMOVED: (204, b""),
    }


def tell(socket: Path, folder: Path | None, engine: Mapping[str, Any]) -> tuple[image_facts.Told, stub.Stub]:
    """What the image tells on an engine, and the engine."""
    with stub.serving(socket, engine) as asked:
        return probe.tell("mine:1", IMAGE, folder=folder, say=lambda _: None), asked


def test_it_is_asked_once(socket: Path, tmp_path: Path) -> None:
    """The answer is kept by the image's id, without what is nobody's business; the next time no engine is needed."""
    told, asked = tell(socket, tmp_path / "images", answers())
    assert told.inside
    assert told.inside.python == "3.10.12"
    assert told.variables == {"CUDA_VERSION": "12.2.1"}
    assert asked.asked[-1] == REMOVED
    assert "canary" not in (tmp_path / "images" / f"{'1' * 64}.json").read_text()
    assert probe.tell("mine:1", IMAGE, folder=tmp_path / "images", say=lambda _: None) == told


def test_the_container_is_the_one_that_was_decided(socket: Path) -> None:
    """The engine gets every option of the question."""
    _, asked = tell(socket, None, answers())
    body = asked.bodies["POST /containers/create"]
    wanted = image_facts.question("", "mine:1", IMAGE.id)
    assert (body["Image"], body["Cmd"], body["User"]) == (IMAGE.id, list(wanted.command), wanted.user)
    host = body["HostConfig"]
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"]) == ("none", True, ["ALL"])
    assert (host["Memory"], host["PidsLimit"], host["Mounts"]) == (wanted.memory, wanted.pids, [])


@pytest.mark.parametrize("text", [b"", b"{", b'{"id": "sha256:2", "variables": {}, "inside": null}', b"\xff"])
def test_a_damaged_answer_is_asked_anew(socket: Path, tmp_path: Path, text: bytes) -> None:
    """What was kept and is torn, or of another image, counts for nothing."""
    (tmp_path / f"{'1' * 64}.json").write_bytes(text)
    told, asked = tell(socket, tmp_path, answers())
    assert told.inside
    assert "POST /containers/create" in asked.asked


def test_a_folder_that_cannot_be_written(socket: Path, tmp_path: Path) -> None:
    """Where nothing can be kept the answer is there nevertheless."""
    (tmp_path / "file").touch()
    told, _ = tell(socket, tmp_path / "file" / "images", answers())
    assert told.inside


def test_an_image_without_a_program_tells_its_variables(socket: Path, tmp_path: Path) -> None:
    """Without a Python in it only its variables are known, and that is not kept: nothing is left of the container."""
    message = 'exec: \\"python3\\": executable file not found in $PATH'
    told, asked = tell(socket, tmp_path, answers() | {f"POST /containers/{ID}/start": (400, {"message": message})})
    assert (told.inside, told.variables) == (None, {"CUDA_VERSION": "12.2.1"})
    assert asked.asked[-1] == REMOVED
    assert not (tmp_path / f"{'1' * 64}.json").exists()


def test_an_image_that_does_not_answer(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes too long is given up with its name, and removed."""
    monkeypatch.setattr(probe, "LIMIT", 0.2)
    with (
        stub.serving(socket, answers(status="running")) as asked,
        pytest.raises(errors.PipelineError, match=r"mine:1 did not answer within 0\.2 s"),
    ):
        probe.tell("mine:1", IMAGE, folder=None, say=lambda _: None)
    assert asked.asked[-1] == REMOVED


def test_an_engine_that_breaks_off(socket: Path) -> None:
    """Where the engine fails in between, the container is removed, and the reason told."""
    with (
        stub.serving(socket, answers() | {f"GET /containers/{ID}/logs": stub.RESET}) as asked,
        pytest.raises(errors.Unfit, match="broke off"),
    ):
        probe.tell("mine:1", IMAGE, folder=None, say=lambda _: None)
    assert asked.asked[-1] == REMOVED


def test_what_killed_runs_left_is_swept(socket: Path) -> None:
    """An old container that only asked is removed; one of this minute may be another run's."""
    left = [{"Id": "a" * 64, "Created": 0}, {"Id": "b" * 64, "Created": 1 << 40}]
    engine = answers() | {"GET /containers/json": (200, left), f"DELETE /containers/{'a' * 64}": (204, b"")}
    _, asked = tell(socket, None, engine)
    assert f"DELETE /containers/{'a' * 64}" in asked.asked
    assert f"DELETE /containers/{'b' * 64}" not in asked.asked
