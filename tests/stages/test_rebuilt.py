"""Rebuild: what differs between two entries of one key is told down to its parts."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import save

from pipeline import edges
from pipeline.core import build, errors, findings, lock
from pipeline.edges import digests, store
from pipeline.stages import rebuild
from tests.core import test_proof as samples


def a_store(root: Path, files: dict[str, bytes], golden: bytes, *, reproducible: bool = True) -> build.Built:
    """A store with one entry of these files; its manifest."""
    made = store.Store(root, digests.Digests(root.parent / "digests"))
    with made.stage() as staged:
        for name, data in {**files, store.GOLDEN: golden}.items():
            (staged / name).write_bytes(data)
        built = build.Built(
            key=samples.PINNED.key,
            files={n: build.File(sha256=hashlib.sha256(d).hexdigest(), size=len(d)) for n, d in files.items()},
            golden=hashlib.sha256(golden).hexdigest(),
            reproducible=reproducible,
        )
        made.publish(built.key, staged, built)
    return built


def opened(root: Path) -> store.Store:
    """A store that is there."""
    return store.Store(root, digests.Digests(root.parent / "digests"))


def archive(line: str) -> bytes:
    """An archive with a line of code."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as target:
        target.writestr(zipfile.ZipInfo("model/code/a.py"), f"x = 1\n{line}\n")
    return made.getvalue()


def graph(kind: str) -> bytes:
    """A model of one node."""
    node = onnx.helper.make_node(kind, ["x"], ["y"], name="only")
    data: bytes = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [])).SerializeToString()
    return data


def golden(value: float) -> bytes:
    """A golden of one tensor."""
    data: bytes = save({"1/output/y": np.array([value], np.float32)})
    return data


def told(tmp_path: Path, old: build.Built, *, has_old: bool = True) -> list[str]:
    """The messages of a comparison of the stores `new` and `old`."""
    pinned = lock.Version(
        source=samples.SOURCE, key=old.key, files=old.files, golden=old.golden, reproducible=old.reproducible
    )
    stored = opened(tmp_path / ("old" if has_old else "none"))
    found: list[findings.Finding] = list(
        rebuild.compare(samples.MADE, pinned, rebuilt=opened(tmp_path / "new"), stored=stored)
    )
    assert {(each.rule, each.model, each.version) for each in found} <= {("rebuild-differs", "bert", 1)}
    return [each.message for each in found]


def test_the_same(tmp_path: Path) -> None:
    """Nothing is told of equal entries."""
    old = a_store(tmp_path / "old", {"model.pt": archive("y = 2")}, golden(1.0))
    a_store(tmp_path / "new", {"model.pt": archive("y = 2")}, golden(1.0))
    assert told(tmp_path, old) == []


def test_down_to_the_part(tmp_path: Path) -> None:
    """Row 19: a line in a member of an archive, a node of a graph, and a golden in numbers."""
    old = a_store(tmp_path / "old", {"model.pt": archive("y = 2"), "m.onnx": graph("Relu")}, golden(1.0))
    a_store(tmp_path / "new", {"model.pt": archive("y = 3"), "m.onnx": graph("Neg")}, golden(1.25))
    found = told(tmp_path, old)
    assert "model.pt: member model/code/a.py differs: line 2 was 'y = 2', is 'y = 3'" in found
    assert "m.onnx: node 0 Relu `only` is not in the rebuild" in found
    assert "m.onnx: node 0 Neg `only` is in the rebuild alone" in found
    assert "golden 1/output/y moved by at most 0.25" in found
    assert sum("has sha256" in line for line in found) == 3


def test_without_the_old_bytes(tmp_path: Path) -> None:
    """Where the store has not what was locked, the digests are told, and that there is nothing to compare."""
    old = a_store(tmp_path / "old", {"model.pt": archive("y = 2")}, golden(1.0))
    a_store(tmp_path / "new", {"model.pt": archive("y = 3")}, golden(1.0))
    found = told(tmp_path, old, has_old=False)
    assert len(found) == 2
    assert found[1] == "model.pt: the store has not the locked bytes, so its parts cannot be compared"


def test_a_format_of_other_bytes(tmp_path: Path) -> None:
    """What is not reproducible is compared by its golden: other bytes of the file are no difference."""
    old = a_store(tmp_path / "old", {"model.pt2": b"one"}, golden(1.0), reproducible=False)
    a_store(tmp_path / "new", {"model.pt2": b"another"}, golden(1.0), reproducible=False)
    assert told(tmp_path, old) == []


def test_clean_folder(tmp_path: Path) -> None:
    """The clean folder gets what the lock names and nothing else; a file that changed meanwhile is refused."""
    origin = edges.Project(spec=tmp_path / "origin/pipeline.yaml")
    origin.root.mkdir()
    (origin.root / "m.py").write_text("code")
    (origin.root / "other.py").write_text("more")
    digest = hashlib.sha256(b"code").hexdigest()
    source = build.Resolved(kind="factory", identity={"callable": "m:f"}, files={"m.py": digest})
    made = build.Build(
        **{name: getattr(samples.MADE, name) for name in build.Build.__struct_fields__} | {"source": source}
    )
    clean = edges.Project(spec=tmp_path / "clean/pipeline.yaml")
    rebuild.lay([made], [], origin=origin, clean=clean)
    assert [path.name for path in clean.root.rglob("*")] == ["m.py"]
    (origin.root / "m.py").write_text("other")
    with pytest.raises(errors.Unverified, match="was changed"):
        rebuild.lay([made], [], origin=origin, clean=edges.Project(spec=tmp_path / "again/pipeline.yaml"))
