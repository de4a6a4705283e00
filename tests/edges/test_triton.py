"""The management client against a real HTTP server on the loopback address that answers as Triton does, or worse."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.core import errors
from pipeline.edges import triton

INDEX = [
    {"name": "good", "version": "2", "state": "READY"},
    {"name": "bad", "version": "1", "state": "UNAVAILABLE", "reason": "Internal: no\x1b[2Jway"},
    {"name": "never"},
]
ANSWERS: dict[tuple[str, str], tuple[int, Any]] = {
    ("GET", "/v2"): (200, {"name": "pipeline-abc", "version": "2.51.0", "extensions": []}),
    ("GET", "/v2/health/live"): (200, None),
    ("GET", "/v2/health/ready"): (400, None),
    ("GET", "/v2/models/good/versions/2/ready"): (200, None),
    ("GET", "/v2/models/good/versions/3/ready"): (400, None),
    ("GET", "/v2/models/good/config"): (
        200,
        {"name": "good", "parameters": {"pipeline_digest": {"string_value": "d1"}}},
    ),
    ("GET", "/v2/models/plain/config"): (200, {"name": "plain"}),
    ("GET", "/v2/models/good/versions/2"): (200, {"name": "good", "inputs": []}),
    ("GET", "/v2/models/good/stats"): (200, {"model_stats": []}),
    ("POST", "/v2/repository/index"): (200, INDEX),
    ("POST", "/v2/repository/models/good/load"): (200, None),
    ("POST", "/v2/repository/models/good/unload"): (200, None),
    ("POST", "/v2/repository/models/bad/load"): (400, {"error": "failed to load 'bad'\nno version"}),
    ("POST", "/v2/models/good/versions/2/infer"): (200, {"outputs": []}),
    ("POST", "/v2/models/bad/versions/1/infer"): (500, {"error": "PyTorch execute failure: no"}),
    ("GET", "/v2/models/broken/config"): (200, "no object"),
}
ASKED: list[tuple[str, bytes]] = []


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers from the table; what it does not know is 404 with no words."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        ASKED.append((self.path, self.rfile.read(size)))
        status, body = ANSWERS.get((self.command, self.path), (404, {}))
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET  # noqa: N815 - the name that http.server asks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def client() -> Iterator[triton.Client]:
    """A client of a server that answers from the table."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield triton.Client(port=server.server_port)
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_a_server_says(client: triton.Client) -> None:
    """Each call reads the part of Triton's answer that it is for."""
    assert client.identity() == triton.Identity(name="pipeline-abc", version="2.51.0")
    assert client.live()
    assert not client.ready()
    assert client.model_ready("good", 2)
    assert not client.model_ready("good", 3)
    assert client.digest("good") == "d1"
    assert client.digest("plain") is None
    assert client.metadata("good", 2)["name"] == "good"
    assert client.statistics("good") == {"model_stats": []}
    client.load("good", timeout=5)
    client.unload("good", timeout=5)


def test_many_configs(client: triton.Client) -> None:
    """Configs are asked over one connection; one that is no object, or refused, fails as a single question does."""
    found = client.configs(["good", "plain", "good"])
    assert found == {"good": client.config("good"), "plain": client.config("plain")}
    with pytest.raises(errors.PipelineError, match="no Triton server"):
        client.configs(["good", "broken"])
    with pytest.raises(errors.PipelineError, match="answered 404"):
        client.configs(["good", "unknown"])


def test_the_index_has_versions_that_never_loaded(client: triton.Client) -> None:
    """A model without a version has None, and a reason stays as Triton gave it."""
    assert [(status.name, status.version, status.state) for status in client.index()] == [
        ("good", 2, "READY"),
        ("bad", 1, "UNAVAILABLE"),
        ("never", None, ""),
    ]


def test_a_question_of_ones(client: triton.Client) -> None:
    """The health check sends ones in Triton's binary form, and takes a 200 for an answer."""
    ASKED.clear()
    tensors = [
        triton.Question(name="a", dtype="INT16", shape=(1, 2)),
        triton.Question(name="b", dtype="FP32", shape=(1, 1)),
        triton.Question(name="c", dtype="STRING", shape=(2,)),
        triton.Question(name="d", dtype="BOOL", shape=(3,)),
        triton.Question(name="e", dtype="BF16", shape=(1,)),
    ]
    client.answers("good", 2, tensors)
    body = ASKED[-1][1]
    assert body.endswith(b"\1\0\1\0" + b"\0\0\x80\x3f" + b"\1\0\0\0001" * 2 + b"\1\1\1" + b"\x80\x3f")
    head = json.loads(body[: body.rindex(b"}") + 1])
    sizes = [(item["datatype"], item["parameters"]["binary_data_size"]) for item in head["inputs"]]
    assert sizes == [("INT16", 4), ("FP32", 4), ("BYTES", 10), ("BOOL", 3), ("BF16", 2)]


def test_a_refusal_has_tritons_words_escaped(client: triton.Client) -> None:
    """The server's own words are in the error, and cannot steer the terminal."""
    with pytest.raises(errors.PipelineError, match=r"answered 400 to .*: failed to load 'bad'\\nno version"):
        client.load("bad", timeout=5)
    with pytest.raises(errors.PipelineError, match=r"answered 500 .*PyTorch execute failure: no"):
        client.answers("bad", 1, [])
    with pytest.raises(errors.PipelineError, match=r"answered 404 .*no reason given"):
        client.config("strange")


def test_an_answer_of_another_shape_is_no_triton(client: triton.Client) -> None:
    """A server that answers JSON of another kind is told apart."""
    with pytest.raises(errors.PipelineError, match="is no Triton server"):
        client.config("broken")


def test_names_are_quoted(client: triton.Client) -> None:
    """A model's name cannot reach another path."""
    ASKED.clear()
    with pytest.raises(errors.PipelineError):
        client.config("../../health")
    assert ASKED[-1][0] == "/v2/models/..%2F..%2Fhealth/config"


def test_nothing_listens() -> None:
    """A refused connection names the place and says what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = triton.Client(port=taken.getsockname()[1])
        with pytest.raises(errors.PipelineError, match=r"nothing listens on 127\.0\.0\.1:") as refused:
            client.identity()
        assert "serve" in refused.value.hint
        assert not client.live()


@pytest.mark.parametrize(
    ("sent", "words"),
    [(None, "did not answer /v2 within 0.3 s"), (b"", "broke off"), (b"SSH-2.0-x\r\n", "no Triton server")],
)
def test_a_server_that_answers_badly(sent: bytes | None, words: str) -> None:
    """Silence, a closed connection and another protocol each have their own words, in time."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                if sent is None:
                    time.sleep(1)
                else:
                    connection.sendall(sent)

        thread = threading.Thread(target=answer)
        thread.start()
        client = triton.Client(port=listening.getsockname()[1], timeout=0.3)
        with pytest.raises(errors.PipelineError, match=words):
            client.identity()
        thread.join()


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (None, "did not answer /v2/repository/models/m/load within 0.3 s"),
        (b"", "broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "broke off"),
    ],
)
def test_a_load_that_is_not_answered(sent: bytes | None, words: str) -> None:
    """Row 39: a server that is gone half-way through a load, or takes too long, has not loaded anything for us."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        released = threading.Event()

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                if sent is None:
                    released.wait(10)
                else:
                    connection.sendall(sent)

        thread = threading.Thread(target=answer)
        thread.start()
        client = triton.Client(port=listening.getsockname()[1])
        with pytest.raises(errors.PipelineError, match=words):
            client.load("m", timeout=0.3)
        released.set()
        thread.join()


def test_importing_the_client_is_cheap() -> None:
    """Neither http.client nor socket is imported before a call is made."""
    program = (
        "import sys; from pipeline.edges import triton; print(*{'http.client', 'socket', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not done.stdout.strip()
