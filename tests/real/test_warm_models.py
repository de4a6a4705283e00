"""Warm-up on the real Triton: it runs before a model is READY, with the goldens' row, and a bad one stops the load."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from pipeline.core import config, spec, warmup
from pipeline.edges import embedded, inference, record, rows, triton
from tests import project
from tests.real import repository

pytestmark = pytest.mark.real

GOLDEN = np.arange(1, 9, dtype=np.float32).reshape(2, 4)


class Memory(torch.nn.Module):  # type: ignore[misc]
    """Answers with how many rows it has seen before this request, and with the sum of all that was in them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = self.seen.clone().unsqueeze(0).repeat(x.shape[0], 1)
        self.seen += torch.stack([torch.tensor(float(x.shape[0])), x.sum()])
        return before


class Server:
    """One Triton for all tests of this module."""

    def __init__(self, running: record.Running, folder: Path) -> None:
        self.running, self.folder = running, folder
        self.client = triton.Client(port=running.ports.http, timeout=60)

    def load(self, name: str, module: torch.nn.Module, wanted: spec.Warmup) -> None:
        """Loads a model with this warm-up; the golden's row lies where its config says."""
        model = spec.Model(
            name=name,
            max_batch_size=8,
            inputs={"x": spec.Input(dtype="FP32", shape=("batch", 4))},
            outputs={"y": spec.Output(dtype="FP32", shape=("batch", 2))},
            axes={},
            versions={1: spec.Version(number=1, source=spec.Source(), export=spec.Export(method="script"))},
            version_policy=None,
            golden=spec.Golden(batches=(2, "max")),
            config={},
            warmup=wanted,
        )
        shapes = {}
        if warmup.takes_goldens(model):
            save_file({"2/input/x": GOLDEN}, self.folder / "golden")
            row = rows.read(self.folder / "golden", ("x",))["x"]
            file = self.folder / name / warmup.FOLDER / warmup.file_name(model, "x")
            file.parent.mkdir(parents=True)
            file.write_bytes(row.data)
            shapes = {"x": row.shape}
        text = config.dump(config.model_config(model, digest="d", rows=shapes))
        repository.write(self.folder, name, module, text)
        self.client.load(name, timeout=60)

    def ask(self, name: str) -> Any:
        """What it answers to a row of zeros."""
        given = {"x": np.zeros((1, 4), np.float32)}
        return inference.infer("http", self.running.ports.http, name, 1, inputs=given, outputs=("y",))["y"][0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Triton without models."""
    root = tmp_path_factory.mktemp("warmup")
    (root / "models").mkdir()
    launch = embedded.Launch(
        repository=root / "models",
        backends=root / "backends",
        python=Path(sys.executable),
        ports=repository.free_ports(),
        models=(),
    )
    running = embedded.start(launch, run=root / "run", say=print)
    try:
        found = Server(running, root / "models")
        while not found.client.live():
            assert embedded.alive(running), running.log.read_text()
        yield found
    finally:
        embedded.kill(running)


def test_goldens(server: Server) -> None:
    """Before the first request the instance has answered each batch, every row of it the golden's first."""
    server.load("goldens", Memory(), spec.Warmup(data="goldens"))
    np.testing.assert_array_equal(server.ask("goldens"), [2 + 8, (2 + 8) * GOLDEN[0].sum()])


def test_batches_and_count(server: Server) -> None:
    """The batches and how often each is asked are those that were written."""
    server.load("counted", Memory(), spec.Warmup(data="goldens", batches=(1, 3), count=5))
    np.testing.assert_array_equal(server.ask("counted"), [5 * (1 + 3), 5 * (1 + 3) * GOLDEN[0].sum()])


def test_zeros_and_random_bytes(server: Server) -> None:
    """Zeros are zeros; random bytes are whatever numbers they make."""
    server.load("zeros", Memory(), spec.Warmup(data="zeros", batches=("max",)))
    np.testing.assert_array_equal(server.ask("zeros"), [8, 0])
    server.load("random", Memory(), spec.Warmup(data="random", batches=(1,)))
    answer = server.ask("random")
    assert answer[0] == 1
    assert answer[1] != 0 or math.isnan(answer[1])


TWO = """\
    version_policy: {{specific: [1, 2]}}
    warmup: goldens
"""


def test_from_the_spec_to_the_server(tmp_path: Path) -> None:
    """A spec that asks for it gets the files beside the config, a server that serves, and a plan without changes."""
    made = project.make(tmp_path / "project", project.SPEC.replace("    version_policy: {{specific: [1, 2]}}\n", TWO))
    try:
        made.good("apply")
        folder = made.root / "model_repository/tiny/warmup"
        assert sorted(path.name for path in folder.iterdir()) == ["golden-0-left.bin", "golden-1-right.bin"]
        assert {path.stat().st_size for path in folder.iterdir()} == {12}
        assert "No changes." in made.good("plan")
        assert "12 of 12 goldens verified" in made.good("verify")
        shutil.rmtree(folder)
        said = made.run("plan")
        assert (said.returncode, "warmup/golden-0-left.bin" in said.stdout) == (2, True)
        made.good("heal")
        assert folder.is_dir()
        made.edit("warmup: goldens", "warmup: zeros")
        made.good("apply")
        assert not folder.exists()
        made.good("rollback")
        assert folder.is_dir()
    finally:
        made.good("down")


PICKY = """
def forward(self, left, right):
        if bool((left == 0).all()):
            raise ValueError("too cold")
        return"""


def test_a_warm_up_that_fails_reaches_no_live_server(tmp_path: Path) -> None:
    """A model that cannot answer its warm-up is found out in the server apart, whose end is told; the old one serves.

    An error in a warm-up ends the whole process of Triton 24.10, where a Python-based backend gives it.
    """
    made = project.make(tmp_path / "project")
    code = made.root / "models.py"
    try:
        made.good("apply")
        before = made.good("status", "--json")
        code.write_text(
            code.read_text().replace(
                "\n    def forward(self, left, right):\n        return", PICKY[1:].replace("def", "    def", 1)
            )
        )
        made.edit("export: trace", "export: script\n    warmup: zeros")
        said = made.run("apply", "--accept-goldens")
        assert said.returncode == 1, said.stdout + said.stderr
        assert "server.log" in said.stderr
        code.write_text(project.MODELS)
        made.edit("export: script\n    warmup: zeros", "export: trace")
        assert made.good("status", "--json") == before
    finally:
        made.good("down")
