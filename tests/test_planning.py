"""A plan of what is in sync: it answers from stats, and opens no file whose bytes it knows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import faults, many

ARTIFACTS = ("model.pt", "golden.safetensors", "config.pbtxt")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of six models in sync, which was planned once: the record of digests is there."""
    root = tmp_path_factory.mktemp("planning") / "project"
    many.make(root, 6)
    plan(root)
    return root


def plan(root: Path) -> tuple[str, set[str]]:
    """What a plan says, and the files under `root` that it opens, relative to it."""
    log = root.parent / "log"
    tracer = ["strace", "-f", "-y", "-qq", "-o", str(log), "-e", "trace=open,openat,openat2"]
    command = [*tracer, sys.executable, "-m", "pipeline", "plan"]
    environment = faults.environment({"PIPELINE_TORCH_PYTHON": sys.executable})
    said = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == 2, said.stderr  # no server runs
    opened = {Path(path) for path in re.findall(r" = [0-9]+<([^>]+)>", log.read_text())}
    return said.stdout, {path.relative_to(root).as_posix() for path in opened if path.is_relative_to(root)}


def test_a_plan_in_sync_opens_no_artifact(root: Path) -> None:
    """Of the store a plan reads manifests, of the repository and of adopted files nothing: their stats are known."""
    said, opened = plan(root)
    assert "Plan: 1 to add, 0 to change, 0 to remove." in said
    files = {path for path in opened if (root / path).is_file()}
    manifests = {path for path in files if re.fullmatch(r"\.pipeline/store/[0-9a-f]{64}/manifest\.json", path)}
    assert len(manifests) == 6
    read = {"pipeline.yaml", "pipeline.lock", "models.py", "requirements/torch.txt", ".pipeline/digests.json"}
    assert files - manifests == read


def test_a_plan_opens_the_one_file_that_changed(root: Path) -> None:
    """A byte changed in place, with the old size and the old mtime: that file alone is read, and its model differs."""
    path = root / "model_repository/model0003/1/model.pt"
    about, data = path.stat(), path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    said, opened = plan(root)
    assert "Plan: 1 to add, 1 to change, 0 to remove." in said
    assert "model0003" in said
    assert {name for name in opened if name.endswith(ARTIFACTS)} == {"model_repository/model0003/1/model.pt"}
    path.write_bytes(data)
