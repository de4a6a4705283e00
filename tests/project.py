"""A small project in a temporary folder, and its commands run as a user runs them: in a process of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from tests import prepared

HOME = Path(__file__).parent.parent

SPEC = """\
version: 1
target:
  image: nvcr.io/nvidia/tritonserver:23.08-py3
  runtime: embedded
  ports: {{http: {http}, grpc: {grpc}, metrics: {metrics}}}
  ready_timeout: 60
models:
  tiny:
    source: {{factory: {{callable: "models:build", options: {{scale: 1.5}}, seed: 0}}}}
    export: trace
    max_batch_size: 4
    inputs:
      left: {{dtype: FP32, shape: [batch, 3]}}
      right: {{dtype: FP32, shape: [batch, 3]}}
    outputs:
      answer: {{dtype: FP32, shape: [batch, 2]}}
    versions:
      1: {{}}
      2: {{source: {{factory: {{seed: 1}}}}}}
    version_policy: {{specific: [1, 2]}}
"""

MODELS = """\
import torch


class Tiny(torch.nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, left, right):
        return self.layer(left * self.scale - right)


def build(scale):
    return Tiny(scale)
"""


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project's folder and its ports."""

    root: Path
    ports: tuple[int, int, int]
    timeout: float = 300.0

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """`python -m pipeline WORDS` in the folder; output is kept, the exit code is not judged."""
        return self._start([sys.executable, "-m", "pipeline", *words], variables)

    def run_as_another_user(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """The same with another user id, in a user namespace of its own."""
        another = ["unshare", "--user", "--map-user=4321"]
        return self._start([*another, sys.executable, "-m", "pipeline", *words], variables)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Python code in the folder, with the package at hand."""
        return self._start([sys.executable, "-c", code], {})

    def under(self, tool: list[str], *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """The same as `run`, started by another program, as by `strace`."""
        return self._start([*tool, sys.executable, "-m", "pipeline", *words], variables)

    def begin(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """The same as `run`, and returns at once: whoever begins it waits for its end."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *words],
            cwd=self.root,
            env=environment(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _start(self, words: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            cwd=self.root,
            env=environment(variables),
            capture_output=True,
            text=True,
            timeout=self.timeout,
            check=False,
        )

    def build(self, *words: str) -> None:
        """Exports what the spec asks for, or brings it from where an earlier test has left the very same builds."""
        prepared.bring(self.root)
        self.good("export", *words)
        prepared.keep(self.root)

    def good(self, *words: str) -> str:
        """Standard output of a command that must succeed."""
        ended = self.run(*words)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def edit(self, old: str, new: str) -> None:
        """Edits the spec as a person would."""
        path = self.root / "pipeline.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


def environment(variables: dict[str, str]) -> dict[str, str]:
    """What the commands get: this repository, and this interpreter to export with."""
    return os.environ | {"PYTHONPATH": str(HOME), "PIPELINE_TORCH_PYTHON": sys.executable} | variables


def make(root: Path, spec: str = SPEC) -> Project:
    """A project with the tiny model, on free ports."""
    ports = free_ports()
    (root / "requirements").mkdir(parents=True)
    for group in ("torch", "onnx", "openvino", "tensorflow"):
        shutil.copy(HOME / "requirements" / f"{group}.txt", root / "requirements")
    (root / "models.py").write_text(MODELS)
    (root / "pipeline.yaml").write_text(spec.format(http=ports[0], grpc=ports[1], metrics=ports[2]))
    return Project(root=root, ports=ports)


def minilm() -> str:
    """The sample's model with real weights alone, as a spec for `make`."""
    text = (HOME / "pipeline.yaml").read_text()
    head, models = SPEC[: SPEC.index("models:")], text[text.index("  minilm:") : text.index("  # Sentences in")]
    return head + "models:\n" + models.replace("{", "{{").replace("}", "}}")


def free_ports() -> tuple[int, int, int]:
    """Three ports of the loopback address that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    first, second, third = (each.getsockname()[1] for each in sockets)
    for each in sockets:
        each.close()
    return first, second, third
