"""An engine that is not there, not ours to use, silent, or no engine: each told as what it is, in time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.core import errors
from pipeline.edges import docker
from pipeline.edges.docker import engine
from tests.edges import engine_stub as stub

ROOT = Path(__file__).parents[2]


@pytest.fixture
def socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where DOCKER_HOST says that the engine is."""
    place = tmp_path / "engine.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{place}")
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    return place


def refused(timeout: float = 5.0) -> errors.Unfit:
    """The error of a connection that cannot be."""
    with pytest.raises(errors.Unfit) as found:
        docker.connect(timeout=timeout)
    assert found.value.exit_code == errors.Exit.UNFIT
    assert found.value.hint
    return found.value


def test_it_answers(socket: Path) -> None:
    """An engine that answers is asked what it is."""
    info = {"Runtimes": {"runc": {}, "nvidia": {}}, "DefaultRuntime": "runc"}
    with stub.serving(socket, {"GET /info": (200, info)}), docker.connect() as found:
        facts = docker.facts(found)
    assert (facts.version, facts.architecture, facts.runtimes) == ("20.10.24", "amd64", ("nvidia", "runc"))


def test_no_engine(socket: Path) -> None:
    """Row 52: no socket at all."""
    error = refused()
    assert error.message == f"no Docker engine answers at unix://{socket}"
    assert "systemctl start docker" in error.hint


def test_nobody_listens_any_more(socket: Path) -> None:
    """Row 52: the socket of an engine that was stopped."""
    with stub.serving(socket, {}):
        pass
    assert "no Docker engine answers" in refused().message


def test_denied(socket: Path) -> None:
    """Row 52: a user who is not in the group is told how to get in."""
    with stub.serving(socket, {}):
        socket.chmod(0)
        code = "from pipeline.core import errors\nfrom pipeline.edges import docker\n"
        code += "try: docker.connect()\nexcept errors.Unfit as error: print(error.message, error.hint)"
        words = ["unshare", "--user", "--map-user=4321", sys.executable, "-c", code]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith(f"this user may not use the Docker engine at unix://{socket}")
    assert "usermod -aG docker" in done.stdout


def test_hung(socket: Path) -> None:
    """Row 52: an engine that takes the connection and says nothing is given up in time."""
    with stub.serving(socket, {"GET /version": stub.HANG}):
        began = time.monotonic()
        error = refused(timeout=0.2)
        assert time.monotonic() - began < 1.5
    assert "did not answer within 0.2 s" in error.message


@pytest.mark.parametrize(
    "answer",
    [stub.NOISE, (200, b"<html>hello</html>"), (200, []), (200, {}), (200, b""), (200, {"ApiVersion": 7})],
    ids=str,
)
def test_no_engine_but_something(socket: Path, answer: stub.Answer) -> None:
    """Row 52: whatever else listens there is told as what it is not."""
    with stub.serving(socket, {"GET /version": answer}):
        assert "is no Docker engine" in refused().message


def test_breaks_off(socket: Path) -> None:
    """Row 52: an engine that is restarted in the middle."""
    with (
        stub.serving(socket, {"GET /info": stub.RESET}),
        docker.connect() as found,
        pytest.raises(errors.Unfit, match="broke off"),
    ):
        docker.facts(found)


def test_credentials_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 63: an address with a password in it is told without."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://user:canary@127.0.0.1:1")
    error = refused()
    assert "tcp://127.0.0.1:1" in error.message
    assert "canary" not in str(error) + error.hint + "".join(error.details)


WORDS = [
    ('could not select device driver "" with capabilities: [[gpu]]', errors.Unfit, "container toolkit is missing"),
    ("unknown or invalid runtime name: nvidia", errors.Unfit, "container toolkit is missing"),
    (
        "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.2, please update your driver",
        errors.Unfit,
        "needs cuda>=12.2",
    ),
    ("nvidia-container-cli: device error: 7: unknown device: unknown", errors.Unfit, "there is no GPU 7"),
    (
        "nvidia-container-cli: initialization error: nvml error: driver not loaded",
        errors.Unfit,
        "does not work in containers: nvml error: driver not loaded",
    ),
    (
        "Error starting userland proxy: listen tcp4 127.0.0.1:8000: bind: address already in use",
        errors.PipelineError,
        "the port 8000 on 127.0.0.1 is in use",
    ),
    ("Bind for 0.0.0.0:8001 failed: port is already allocated", errors.PipelineError, "the port 8001 on 0.0.0.0"),
    ("listen tcp4 10.9.9.9:80: bind: cannot assign requested address", errors.PipelineError, "10.9.9.9 is no address"),
    ("No such image: nvcr.io/nvidia/tritonserver:1", errors.Unfit, "the image nvcr.io/nvidia/tritonserver:1 is not"),
    (
        'Conflict. The container name "/triton-a" is already in use by container "123".',
        errors.PipelineError,
        "a container with the name triton-a is there",
    ),
    (
        'invalid mount config for type "bind": bind source path does not exist: /srv/a b',
        errors.Unfit,
        "does not see the folder /srv/a b",
    ),
    ('exec: "tritonserver": executable file not found in $PATH', errors.Unfit, "the image has no tritonserver"),
    (
        "[FATAL tini (7)] exec tritonserver failed: No such file or directory",
        errors.Unfit,
        "the image has no program tritonserver",
    ),
    ("error setting rlimit type 8: operation not permitted", errors.Unfit, "may not set the limits of a process"),
    ("write /var/lib/docker/x: no space left on device", errors.Unfit, "disk is full"),
    ("something new\x1b[31m\nhappened", errors.PipelineError, "would not start it: something new\\x1b[31m happened"),
]


@pytest.mark.parametrize(("words", "kind", "message"), WORDS, ids=[message for _, _, message in WORDS])
def test_refusals(words: str, kind: type[errors.PipelineError], message: str) -> None:
    """What the engine refuses is told in our words, with what to do; others in its own, on one line, escaped."""
    error = engine.refusal("start it", words)
    assert type(error) is kind
    assert message in error.message
    assert error.hint
    assert error.message.isprintable()


def test_every_refusal_is_tried() -> None:
    """No pattern is without a case above."""
    told = {engine.refusal("do", words).message for words, _, _ in WORDS}
    assert len(told) >= len(engine.REFUSALS)
