"""A release of a hundred models where one changed: apply touches that one, and takes no longer for the rest."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from tests import project
from tests.real import live

pytestmark = [pytest.mark.real, pytest.mark.full]

MODEL = """\
  m{number:02d}:
    source: {{{{factory: {{{{callable: "models:build", options: {{{{scale: 1.5}}}}, seed: {number}}}}}}}}}
    export: trace
    max_batch_size: 4
    inputs:
      left: {{{{dtype: FP32, shape: [batch, 3]}}}}
      right: {{{{dtype: FP32, shape: [batch, 3]}}}}
    outputs:
      answer: {{{{dtype: FP32, shape: [batch, 2]}}}}
"""


def make(root: Path, count: int) -> project.Project:
    """A project of so many tiny models, applied."""
    head = project.SPEC[: project.SPEC.index("models:")].replace("ready_timeout: 60", "ready_timeout: 900")
    made = project.make(root, spec=head + "models:\n" + "".join(MODEL.format(number=n) for n in range(count)))
    made = msgspec.structs.replace(made, timeout=1800.0)
    made.good("apply")
    return made


def change_one(made: project.Project) -> float:
    """Seconds that an apply takes which changes one model's config, and leaves all others as they are."""
    folders = {path.name: path.stat().st_ino for path in (made.root / "model_repository").iterdir()}
    before = live.pid(made)
    text = (made.root / "pipeline.yaml").read_text()
    head, _, rest = text.partition("  m01:")
    (made.root / "pipeline.yaml").write_text(f"{head}  m01:\n    config: {{dynamic_batching: {{}}}}{rest}")
    began = time.monotonic()
    ended = made.run("apply")
    took = time.monotonic() - began
    assert ended.returncode == 0, ended.stderr
    assert [line for line in ended.stderr.splitlines() if line.startswith(("assembling", "loading"))] == [
        "assembling m01",
        "loading m01",
    ]
    after = {path.name: path.stat().st_ino for path in (made.root / "model_repository").iterdir()}
    assert {name for name, inode in after.items() if folders[name] != inode} == {"m01"}
    assert live.pid(made) == before
    (made.root / "pipeline.yaml").write_text(text)
    made.good("rollback")
    return took


def test_one_of_a_hundred(tmp_path: Path) -> None:
    """The folders of the other 99 are not touched, and the time is that of a release of three, or little more."""
    few = make(tmp_path / "few", 3)
    try:
        many = make(tmp_path / "many", 100)
        try:
            assert many.good("plan").startswith("No changes.")
            times = [(change_one(few), change_one(many)) for _ in range(3)]
            assert sorted(second / first for first, second in times)[1] < 2, times
        finally:
            many.good("down")
    finally:
        few.good("down")
