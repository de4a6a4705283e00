"""Containers of the CPU image with tiny models, for the tests on a real engine."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch

from pipeline.core import container, errors, spec
from pipeline.edges import docker, triton
from pipeline.edges.docker import containers as boxes
from tests.real import repository

SLOW = """
import time
import torch
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        time.sleep(2)
        # No numpy: this release of Triton was built for numpy 1.
        answer = torch.utils.dlpack.to_dlpack(torch.tensor([5.0]))
        return [pb.InferenceResponse([pb.Tensor.from_dlpack("OUT", answer)])]
"""


class Times(torch.nn.Module):
    """Its input so many times."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor * self.factor


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A folder with a model repository in it, what a container of it is asked for, and the project in its labels."""

    root: Path
    target: spec.Target
    given: container.Given

    @property
    def wanted(self) -> container.Container:
        """The container."""
        return container.container(self.target, self.given)

    @property
    def client(self) -> triton.Client:
        """Its Triton."""
        return triton.Client(port=self.target.ports.http)


def place(root: Path, image: docker.Image, limits: dict[str, Any] | None = None, **keys: Any) -> Place:
    """A repository with two models, `times` (of TorchScript, times two) and `slow` (Python: 5 after two seconds)."""
    write(root / "model_repository", 2.0)
    root.chmod(0o755)  # the container's user is not ours, and pytest's folders are
    slow = root / "model_repository" / "slow"
    (slow / "1").mkdir(parents=True)
    (slow / "1" / "model.py").write_text(SLOW)
    text = repository.config("slow", [("IN", "FP32", [1])], [("OUT", "FP32", [1])], batch=0)
    (slow / "config.pbtxt").write_text(text.replace('"pytorch"', '"python"'))
    asked = {"image": image.id, "gpus": "none", "ports": repository.free_ports(), "stop_timeout": 10} | keys
    small = {"memory": "2g"} | (limits or {})
    target = msgspec.convert(msgspec.to_builtins(asked | {"container": small}), spec.Target)
    given = container.Given(
        folder=str(root),
        repository="model_repository",
        image=image.id,
        image_id=image.id,
        nonce=secrets.token_hex(16),
        project=secrets.token_hex(32),
        spec="5" * 64,
        release="6" * 64,
        models=("slow", "times"),
    )
    return Place(root=root, target=target, given=given)


def write(folder: Path, factor: float) -> None:
    """The model `times`, complete, in a folder."""
    text = repository.config("times", [("input__0", "FP32", [2])], [("output__0", "FP32", [2])])
    repository.write(folder, "times", Times(factor), text)


@contextlib.contextmanager
def running(engine: docker.Engine, wanted: container.Container) -> Iterator[boxes.Found]:
    """A container that is started, and gone at the end."""
    found = boxes.run(engine, wanted, say=lambda _: None)
    try:
        yield found
    finally:
        boxes.remove(engine, found.id)


def await_ready(engine: docker.Engine, found: boxes.Found, client: triton.Client) -> None:
    """Returns when all models are READY; its log where it ends before."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(errors.PipelineError):
            if {each.state for each in client.index()} == {"READY"}:
                return
        now = boxes.look(engine, found.id)
        assert now, "the container is gone"
        assert now.state.running, "\n".join([now.end, *boxes.logs(engine, found.id)])
        time.sleep(0.05)
    raise AssertionError("\n".join(boxes.logs(engine, found.id)))


def ask(port: int, model: str, name: str, values: list[float], shape: list[int]) -> list[float]:
    """The answer of a model, over HTTP and in JSON."""
    body = {"inputs": [{"name": name, "datatype": "FP32", "shape": shape, "data": values}]}
    url = f"http://127.0.0.1:{port}/v2/models/{model}/infer"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        data: list[float] = json.load(answer)["outputs"][0]["data"]
    return data
