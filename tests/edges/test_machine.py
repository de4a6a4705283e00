"""This machine's facts: programs that lie, fail or hang, sockets that nobody answers, each by itself and in time."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.core import machine, spec
from pipeline.edges import machine as machines
from pipeline.edges.machine import engine, here

VERSION = {"Version": "28.0.1", "Os": "linux"}
INFO = {
    "Runtimes": {"runc": {}, "nvidia": {}},
    "DockerRootDir": "/srv/docker",
    "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}],
}
SMI = "580.65.06, NVIDIA A100-SXM4-80GB, 8.0\n580.65.06, NVIDIA A100-SXM4-80GB, 8.0\n"
QUICK = 0.5


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a program on a PATH that has nothing else of NVIDIA's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def put(name: str, text: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    return put


@contextlib.contextmanager
def answering(path: Path, answer: Callable[[bytes], bytes | None]) -> Iterator[None]:
    """A socket on which each request gets an answer, or, for None, nothing at all while the block lasts."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server, contextlib.ExitStack() as kept:
        server.bind(str(path))
        server.listen()
        server.settimeout(0.02)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    said = answer(connection.recv(65536))
                    if said is None:
                        kept.callback(connection.close)
                        continue
                    connection.sendall(said)
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        over.set()
        thread.join(5)


def http(body: object, status: str = "200 OK") -> bytes:
    """An answer as an engine gives it."""
    text = json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode() + text


def asked(path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[bytes], bytes | None]) -> machine.Engine:
    """What is found out about an engine that answers so."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with answering(path, answer):
        return engine.ask(QUICK)


def sound(request: bytes) -> bytes:
    """An engine with everything."""
    return http(VERSION if request.startswith(b"GET /version") else INFO)


def test_an_engine_tells_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version, runtimes, devices and the folder of its images come from the engine itself."""
    path = tmp_path / "s"
    assert asked(path, monkeypatch, sound) == machine.Engine(
        state="running",
        address=f"unix://{path}",
        version="28.0.1",
        runtimes=("nvidia", "runc"),
        devices=("nvidia.com/gpu=all",),
        root="/srv/docker",
    )


def test_an_engine_that_hangs_costs_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that takes a request and never answers is hung, within the limit."""
    start = time.monotonic()
    assert asked(tmp_path / "s", monkeypatch, lambda _: None).state == "hung"
    assert time.monotonic() - start < 2 * QUICK


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"",
        http([1]),
        http({}),
        http(VERSION, "503 Service Unavailable"),
        b"HTTP/1.1 200 OK\r\n\r\n{",
    ],
    ids=["other protocol", "nothing", "list", "no version", "refusal", "cut"],
)
def test_what_answers_otherwise_is_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """Another server on the socket is told as such, with what it said, and without a traceback."""
    found = asked(tmp_path / "s", monkeypatch, lambda _: answer)
    assert found.state == "broken"
    assert found.words


def test_no_socket_is_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that is not there, or that nobody listens on, is a missing engine."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    assert engine.ask(QUICK).state == "missing"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(tmp_path / "left"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/left")
    assert engine.ask(QUICK).state == "missing"


def test_a_socket_of_others_is_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that this user may not use is told apart from one that is not there."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # As root, which tests may run as, every socket can be used: the kernel's refusal is played.
    monkeypatch.setattr(engine._Unix, "connect", refuse)
    assert engine.ask(QUICK).state == "denied"


def test_an_engine_elsewhere_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine behind SSH or TLS is named without its password, and left alone."""
    monkeypatch.setenv("DOCKER_HOST", "ssh://me:secret@server")
    assert engine.ask(QUICK) == machine.Engine(state="remote", address="ssh://server")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    assert engine.ask(QUICK).state == "remote"


def test_a_users_own_engine_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DOCKER_HOST and the system's socket, a rootless engine's is asked."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(engine, "_SOCKET", f"unix://{tmp_path}/none")
    if Path("/var/run/docker.sock").exists():
        assert engine.ask(QUICK).address == f"unix://{tmp_path}/none"
        return
    with answering(tmp_path / "docker.sock", sound):
        assert engine.ask(QUICK).state == "running"


def test_nvidia_smi_tells_driver_and_gpus(program: Callable[[str, str], None]) -> None:
    """Driver version, names and compute capabilities are read from `nvidia-smi`."""
    program("nvidia-smi", f"printf '%s' '{SMI}'")
    gpu = machine.Gpu(name="NVIDIA A100-SXM4-80GB", capability="8.0")
    assert here.driver(QUICK) == machine.Driver(state="works", version="580.65.06", gpus=(gpu, gpu))


def test_an_older_nvidia_smi_knows_no_capability(program: Callable[[str, str], None]) -> None:
    """Where the field is not known yet, driver and names are asked for alone."""
    field = 'case "$*" in *compute_cap*) echo \'Field "compute_cap" is not a valid field to query.\'; exit 2;; esac'
    program("nvidia-smi", f"{field}\necho '470.57.02, Tesla T4'")
    assert here.driver(QUICK) == machine.Driver(
        state="works", version="470.57.02", gpus=(machine.Gpu(name="Tesla T4"),)
    )


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", "failed"),
        ("echo 'No devices were found'; exit 6", "failed"),
        ("exit 0", "failed"),
        ("kill -9 $$", "failed"),
        ("echo 'x, y, z'", "failed"),
        ("sleep 60 & wait", "hung"),
    ],
)
def test_nvidia_smi_fails(program: Callable[[str, str], None], text: str, state: str) -> None:
    """A driver that does not work is told with its own words; one that hangs is left behind, with its children."""
    program("nvidia-smi", text)
    start = time.monotonic()
    found = here.driver(QUICK)
    assert found.state == state
    assert found.gpus == ()
    assert bool(found.words) == (state == "failed")
    assert time.monotonic() - start < 2 * QUICK


def test_without_nvidia_smi(program: Callable[[str, str], None]) -> None:
    """No program is no driver."""
    assert here.driver(QUICK).state == "missing"


@pytest.mark.parametrize(
    ("text", "version"),
    [("echo 'NVIDIA Container Toolkit CLI version 1.17.8'", "1.17.8"), ("exit 1", "of unknown version")],
)
def test_the_toolkit(program: Callable[[str, str], None], text: str, version: str) -> None:
    """The container toolkit is found by its program, and none where there is none."""
    assert here.toolkit(QUICK) is None
    program("nvidia-ctk", text)
    assert here.toolkit(QUICK) == version


def test_room_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    """The room is that of the nearest folder above."""
    found = here.space(tmp_path / "not" / "yet")
    assert found.folder == str(tmp_path / "not" / "yet")
    assert 0 < found.free <= found.size


def test_ports_in_use() -> None:
    """A port that somebody listens on is not free, and none is left bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken, socket.socket() as other:
        for each in (taken, other):
            each.bind(("127.0.0.1", 0))
        taken.listen()
        numbers = [each.getsockname()[1] for each in (taken, other)]
        other.close()
        wanted = spec.Ports(http=numbers[0], grpc=numbers[1], metrics=numbers[1])
        for _ in range(2):
            assert [port.free for port in here.ports(wanted, "127.0.0.1")] == [False, True, True]
    with pytest.raises(OSError, match="assign"):
        here.ports(wanted, "192.0.2.1")


def test_the_environments_python(tmp_path: Path) -> None:
    """Version, shared library and torch are those of the interpreter that is named, and it is not this process."""
    found = here.python(Path(sys.executable), 5)
    assert found.version == sys.version.split()[0]
    assert not found.library or Path(found.library).exists()
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho broken; exit 3\n")
    broken.chmod(0o755)
    assert here.python(broken, QUICK) == machine.Python(program=str(broken), words="broken")


def test_everything_at_once_whatever_hangs(
    tmp_path: Path, program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver, a toolkit, a Python and an engine that hang cost one limit together; the rest is known nevertheless."""
    for name in ("nvidia-smi", "nvidia-ctk", "python"):
        program(name, "sleep 60")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")
    hung = Path(os.environ["PATH"].split(":")[0], "python")
    start = time.monotonic()
    with answering(tmp_path / "s", lambda _: None):
        found = machines.probe(interpreter=hung, ports=spec.Ports(http=1, grpc=2, metrics=3), limit=0.8)
    assert time.monotonic() - start < 1.2
    assert found.driver == machine.Driver(state="hung")
    assert found.engine is not None
    assert found.engine.state == "hung"
    assert set(found.unknown) == {"python", "toolkit"}
    assert found.system
    assert found.shm
    assert found.disk
    assert found.disk.folder == engine.ROOT


def test_a_probe_that_fails_fails_alone(monkeypatch: pytest.MonkeyPatch, program: Callable[[str, str], None]) -> None:
    """What cannot be found out is named with its reason, and nothing else is lost by it."""

    def broken() -> machine.System:
        msg = "no such file"
        raise OSError(msg)

    def endless(_folder: Path) -> machine.Space:
        time.sleep(30)
        raise AssertionError

    monkeypatch.setattr(here, "system", broken)
    monkeypatch.setattr(here, "space", endless)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/s")
    found = machines.probe(interpreter=None, ports=None, limit=0.4)
    assert found.system is None
    assert found.unknown == {
        "disk": "it did not answer within 0.4 s",
        "python": "there is no environment with PyTorch here yet",
        "shm": "it did not answer within 0.4 s",
        "system": "OSError: no such file",
    }
    assert found.engine == machine.Engine(state="missing", address="unix:///nonexistent/s")


def test_the_limit_is_below_two_seconds() -> None:
    """The whole command answers in under 2 s: the probes leave time to start and to print."""
    assert machines.LIMIT < 2
