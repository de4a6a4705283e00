"""The docker runtime where others fail: the engine, the registry, the image, clients who want to steer the server."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from pipeline.core import container
from pipeline.edges import docker, triton
from pipeline.edges.docker import containers as boxes
from tests import project
from tests.real import boxed, breaking, containers, live
from tests.real import registry as registries

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def made(
    engine: docker.Engine, image: docker.Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[project.Project]:
    """A project that is live in a container."""
    assert image.id
    found = project.make(tmp_path_factory.mktemp("faults") / "project", boxed.spec())
    found.build()
    found.good("apply")
    yield found
    found.good("down")
    assert boxed.of(engine, found) == set()


CONTROL = [
    ("POST", "/v2/repository/models/tiny/unload"),
    ("POST", "/v2/repository/models/tiny/load"),
    ("POST", "/v2/repository/index"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("POST", "/v2/systemsharedmemory/unregister"),
    ("GET", "/v2/logging"),
    ("POST", "/v2/logging"),
    ("GET", "/v2/trace/setting"),
]


@pytest.mark.parametrize("key", ["none", "wrong", "in the address"])
@pytest.mark.parametrize(("method", "path"), CONTROL)
def test_who_has_no_key_steers_nothing(made: project.Project, method: str, path: str, key: str) -> None:
    """Row 60: over HTTP nobody loads, unloads, lists, or changes logs and traces without the key."""
    known = json.loads((made.root / ".pipeline/run/server.json").read_text())["key"]
    headers = {container.KEY: "0" * 32} if key == "wrong" else {}
    if key == "in the address":
        path = f"{path}?{container.KEY}={known}"
    connection = http.client.HTTPConnection("127.0.0.1", made.ports[0], timeout=30)
    connection.request(method, path, b"{}" if method == "POST" else None, headers)
    assert connection.getresponse().status == 403
    connection.close()


@pytest.mark.parametrize("key", [None, "0" * 32])
def test_who_has_no_key_steers_nothing_over_grpc(made: project.Project, key: str | None) -> None:
    """Row 60: the same over gRPC."""
    headers = {f"triton-grpc-protocol-{container.KEY}": key} if key else None
    client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{made.ports[1]}")
    calls: list[Any] = [
        lambda: client.unload_model("tiny", headers=headers),
        lambda: client.load_model("tiny", headers=headers),
        lambda: client.get_model_repository_index(headers=headers),
        lambda: client.get_system_shared_memory_status(headers=headers),
        lambda: client.update_log_settings({"log_verbose_level": 1}, headers=headers),
        lambda: client.get_trace_settings(headers=headers),
    ]
    for call in calls:
        with pytest.raises(InferenceServerException, match=r"restricted|not allowed|unavailable|key"):
            call()
    client.close()


def test_the_key_is_in_no_output(made: project.Project) -> None:
    """Row 63: the key is in the record alone, which only its owner reads; no command shows it, no label has it."""
    path = made.root / ".pipeline/run/server.json"
    known = json.loads(path.read_text())["key"]
    assert path.stat().st_mode & 0o077 == 0
    for words in (["plan", "--json"], ["status", "--json"], ["history", "--json"], ["verify", "--json"]):
        ended = made.run(*words)
        assert known not in ended.stdout + ended.stderr
    others = [each for each in made.root.rglob("*") if each.is_file() and each != path]
    assert not [each for each in others if known.encode() in each.read_bytes()]


def test_infers_and_reads_without_a_key(made: project.Project) -> None:
    """What clients need is open: inference, health, metadata, configs, statistics."""
    made.good("verify")
    for path in ("/v2/health/ready", "/v2/models/tiny", "/v2/models/tiny/config", "/v2/models/tiny/stats"):
        connection = http.client.HTTPConnection("127.0.0.1", made.ports[0], timeout=30)
        connection.request("GET", path)
        assert connection.getresponse().status == 200, path
        connection.close()


@pytest.mark.parametrize(
    "word", [b"/containers/create", b"/start HTTP", b"POST /v1"], ids=["create", "start", "first change"]
)
def test_an_engine_that_breaks_off(engine: docker.Engine, made: project.Project, tmp_path: Path, word: bytes) -> None:
    """Row 52: an engine that is gone in the middle of an apply is told; the next run adopts or removes what is ours."""
    made.good("down")
    with breaking.breaking(tmp_path / "socket", engine.address, word) as cut:
        ended = made.run("serve", DOCKER_HOST=cut.address)
    assert ended.returncode == 5, ended.stdout + ended.stderr
    assert "Docker engine" in ended.stderr
    assert "Traceback" not in ended.stderr
    made.good("serve")
    assert made.good("plan").startswith("No changes.")
    (ours,) = boxed.of(engine, made)
    assert ours == boxed.identity(made)


def test_a_foreign_triton_on_our_ports(engine: docker.Engine, made: project.Project) -> None:
    """Row 51: another's Triton that answers on our ports is not verified against, not taken for ours, not stopped."""
    wanted = boxed.box(engine, made).has
    engine.api.remove_container(boxed.identity(made), force=True)
    words = tuple("--id=pipeline-" + "0" * 32 if each.startswith("--id=") else each for each in wanted.command)
    labels = {container.OWNER: "0" * 32}
    foreign = msgspec.structs.replace(wanted, name="foreign-triton", command=words, labels=labels)
    with containers.running(engine, foreign) as theirs:
        key = next(word.rpartition("=")[2] for word in words if word.startswith("--http-restricted-api="))
        containers.await_ready(engine, theirs, triton.Client(port=made.ports[0], key=key))
        assert made.run("verify").returncode == 1
        assert json.loads(made.run("status", "--json").stdout)["models"][0]["health"] == "Missing"
        refused = made.run("heal")
        assert refused.returncode == 1
        assert f"the http port {made.ports[0]} is in use" in refused.stderr
        assert boxes.runs(engine, theirs.id)
    made.good("heal")
    made.good("verify")


PROGRAMS = {
    "ends at once": ("exit 0", "exit code 0"),
    "crashes": ("kill -SEGV $$", "signal 11"),
    "says why": ("echo no \\033[31mlicence; exit 9", "exit code 9"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_server_that_ends(engine: docker.Engine, image: docker.Image, tmp_path: Path, name: str) -> None:
    """Row 55: a server that ends at once is started once, told with its end and its last words, and gone."""
    program, words = PROGRAMS[name]
    tag = f"boxed-{name.replace(' ', '-')}:1"
    written = f"printf '#!/bin/sh\\n{program}\\n' > /opt/tritonserver/bin/tritonserver"
    text = f"FROM {image.id}\nUSER 0\nRUN {written}\nUSER 1000\n"
    for event in engine.api.build(fileobj=io.BytesIO(text.encode()), tag=tag, rm=True, decode=True):
        assert "error" not in event, event
    made = project.make(tmp_path / "project", boxed.spec(image=tag))
    made.build()
    made.good("assemble")
    try:
        ended = made.run("serve")
        assert ended.returncode == 1, ended.stderr
        assert words in ended.stderr
        assert ended.stderr.count("started the container") == 1
        assert "\x1b" not in ended.stderr
        assert ("licence" in ended.stderr) == (name == "says why")
        assert boxed.of(engine, made) == set()
    finally:
        engine.api.remove_image(tag, force=True)


def test_an_image_by_the_registrys_digest(engine: docker.Engine, image: docker.Image, tmp_path: Path) -> None:
    """Row 53: the lock pins what the registry has, with nothing pulled; a moved tag changes nothing; what is no Triton
    is told, and no container is left."""
    assert image.id
    with registries.serving(docker.facts(engine).architecture) as registry:
        made = project.make(tmp_path / "project", boxed.spec(image=registry.reference))
        made.build()
        pinned = registry.digest
        assert live.lock(made)["image"] == {"digest": pinned, "reference": registry.reference}
        assert docker.find_image(engine, registry.reference) is None
        registry.publish()
        made.build()
        assert live.lock(made)["image"]["digest"] == pinned
        made.good("assemble")
        ended = made.run("serve")
        assert ended.returncode == 5, ended.stderr
        assert "the image has no program tritonserver" in ended.stderr
        assert boxed.of(engine, made) == set()
        found = docker.find_image(engine, f"{registry.reference}@{pinned}")
        assert found
        engine.api.remove_image(found.id, force=True)
        made.good("export", "--accept-image")
        assert live.lock(made)["image"]["digest"] == registry.digest != pinned


def test_an_image_that_is_nowhere(engine: docker.Engine, image: docker.Image, tmp_path: Path) -> None:
    """Row 53: an image that neither engine nor registry has is told before anything live is touched."""
    assert image.id
    made = project.make(tmp_path / "project", boxed.spec())
    made.build()
    made.good("apply")
    try:
        before = boxed.identity(made)
        made.edit(docker.CPU, "127.0.0.1:9/nowhere:1")
        ended = made.run("apply")
        assert ended.returncode == 5, ended.stderr
        assert "127.0.0.1:9/nowhere:1" in ended.stderr
        assert boxed.identity(made) == before
        assert boxed.box(engine, made).state.running
    finally:
        made.good("down")


def test_from_a_process_into_a_container_and_back(made: project.Project) -> None:
    """The runtime is a word of the spec: a change of it is planned with its gap, made, proven, and undone."""
    text = (made.root / "pipeline.yaml").read_text()
    digest = live.digest(made)
    made.edit("runtime: docker", "runtime: embedded")
    planned = made.run("plan")
    assert "-/+ server embedded  (needs a new server)\n        runtime: docker -> embedded\n" in planned.stdout
    assert "requests fail from the stop of the old one" in planned.stdout
    made.good("apply")
    assert live.pid(made)
    assert live.digest(made) == digest
    (made.root / "pipeline.yaml").write_text(text)
    made.good("apply", "--allow-rollback")
    assert boxed.identity(made)
    assert live.digest(made) == digest
    assert made.good("plan").startswith("No changes.")
