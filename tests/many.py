"""A project of many small models, everything of it on disk as if it had been exported and assembled, without torch.

The program's own functions make every file; only the artifacts' bytes are invented.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path
from unittest import mock

from pipeline import edges, reconcile
from pipeline.core import build, diff, layout, lock
from pipeline.edges import store
from pipeline.reconcile import goals
from pipeline.stages import assemble
from pipeline.stages import lock as locking
from tests import project

HEAD = """\
version: 1
target:
  image: nvcr.io/nvidia/tritonserver:23.08-py3
  runtime: embedded
  ports: {{http: {http}, grpc: {grpc}, metrics: {metrics}}}
models:
"""
MODEL = """\
  {name}:
    source:
{source}
    max_batch_size: 32
    inputs:
      input__0: {{dtype: INT32, shape: [batch, 256], argument: input_ids, values: {{high: 30522}}}}
      input__1: {{dtype: INT32, shape: [batch, 256], argument: attention_mask, values: {{high: 2}}}}
    outputs:
      output__0: {{dtype: FP32, shape: [batch, 2], result: logits}}
    golden:
      batches: [1, 2, max]
      tolerance: {{rtol: 1e-4, atol: 1e-5}}
    config:
      dynamic_batching: {{max_queue_delay_microseconds: 100}}
"""
FILE = "      file: {{path: artifacts/{name}.pt, sha256: {sha256}}}"
FACTORY = '      factory: {{callable: "models:build", options: {{scale: 1.5}}, seed: {number}}}\n    export: trace'
CODE = "import torch\n\n\ndef build(scale):\n    return torch.nn.Linear(3, 2)\n"


def make(root: Path, count: int) -> project.Project:
    """A project of `count` models in sync on disk, every other one an adopted file, and no server."""
    ports = project.free_ports()
    (root / "requirements").mkdir(parents=True)
    shutil.copy(project.HOME / "requirements" / "torch.txt", root / "requirements")
    (root / "models.py").write_text(CODE)
    (root / "artifacts").mkdir()
    head = HEAD.format(http=ports[0], grpc=ports[1], metrics=ports[2])
    (root / "pipeline.yaml").write_text(head + "".join(_entry(root, number) for number in range(count)))
    # A digest is wanted of files that are a moment old: each would be waited for. Unwaited for, it is not remembered.
    with mock.patch("time.sleep"):
        _build(root)
    return project.Project(root=root, ports=ports)


def _entry(root: Path, number: int) -> str:
    name = f"model{number:04d}"
    if number % 2:
        return MODEL.format(name=name, source=FACTORY.format(number=number))
    data = _artifact(name)
    (root / "artifacts" / f"{name}.pt").write_bytes(data)
    return MODEL.format(name=name, source=FILE.format(name=name, sha256=hashlib.sha256(data).hexdigest()))


def _artifact(word: str) -> bytes:
    return f"artifact of {word}\n".encode() * 20


def _build(root: Path) -> None:
    """Fills the store, writes the lock, assembles the repository."""
    place = edges.Project(spec=root / "pipeline.yaml")
    site = reconcile.visit(place, name="pipeline.yaml", models=(), say=lambda _: None)
    made = goals.builds(site)
    built = {where: _publish(site.stored, build.key(each)) for where, each in made.items()}
    new = layout.next_lock(site.declared, made, built, image=lock.image(None, site.declared.target.image), kept={})
    locking.write(place, new)
    keys = {where: each.key for where, each in built.items()}
    wanted = layout.state_of(site.declared, new, layout.Keys(versions=keys), None)
    added = [diff.Change(kind=diff.Kind.REPOSITORY, act=diff.Act.ADD, subject=name) for name in wanted.models]
    assemble.assemble(place, wanted.models, added, stored=site.stored, known=site.known, say=lambda _: None).keep()


def _publish(stored: store.Store, key: str) -> build.Built:
    contents = {"model.pt": _artifact(key), store.GOLDEN: f"golden of {key}".encode()}
    files = {"model.pt": build.File(sha256=_sha256(contents["model.pt"]), size=len(contents["model.pt"]))}
    built = build.Built(key=key, files=files, golden=_sha256(contents[store.GOLDEN]), checks=_CHECKS)
    with stored.stage() as staged:
        for name, data in contents.items():
            (staged / name).write_bytes(data)
        stored.publish(key, staged, built)
    return built


_CHECKS = tuple(f"batch {batch}: max abs error 2.4e-07" for batch in (1, 2, 32))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
