"""Finished folders and files beside configs: they are what the spec names, or are refused with every difference."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.core import errors, spec
from pipeline.edges import digests, finished

TREE = {"model.onnx": b"graph", "weights/part 1.bin": b"numbers", "deep/er/x": b""}


def sha256(data: bytes) -> str:
    """The digest of bytes."""
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of a version, with an empty folder in it as SavedModel has them."""
    for name, data in TREE.items():
        (tmp_path / "m/1" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m/1" / name).write_bytes(data)
    (tmp_path / "m/1/assets").mkdir()
    return tmp_path


def declared(path: str = "m/1", **more: str) -> spec.FileSource:
    """The folder as a spec names it, with further files."""
    return spec.FileSource(path=path, files={name: sha256(data) for name, data in TREE.items()} | more)


def known(root: Path) -> digests.Digests:
    """A record of digests."""
    return digests.Digests(root / "digests.json")


def test_a_folder_is_what_it_should_be(root: Path) -> None:
    """Every file with its digest makes the source; where it lies says only the path."""
    resolved = finished.resolve(declared(), root, known(root))
    assert (resolved.kind, resolved.files) == ("file", declared().files)
    assert dict(resolved.identity) == {"path": "m/1"}
    copies = [(name, path) for name, path, _ in finished.copies(resolved)]
    assert copies == [(name, f"m/1/{name}") for name in TREE]


DIFFERENCES = {
    "changed": lambda folder: (folder / "model.onnx").write_bytes(b"Graph"),
    "missing": lambda folder: (folder / "deep/er/x").unlink(),
    "extra": lambda folder: (folder / "model.py").write_bytes(b""),
    "link": lambda folder: ((folder / "deep/er/x").unlink(), (folder / "deep/er/x").symlink_to("/etc/passwd")),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_any_difference_is_told(root: Path, name: str) -> None:
    """A file that was changed, removed, added or replaced by a link is named, and nothing is taken."""
    DIFFERENCES[name](root / "m/1")  # type: ignore[no-untyped-call]
    with pytest.raises(errors.Unverified, match="not the folder that the spec names") as caught:
        finished.resolve(declared(), root, known(root))
    assert len(caught.value.details) == 1


@pytest.mark.parametrize("path", ["nowhere", "m/1/model.onnx"])
def test_no_folder(root: Path, path: str) -> None:
    """Where there is no folder, that is said without a traceback."""
    with pytest.raises(errors.PipelineError):
        finished.resolve(declared(path), root, known(root))


def test_a_linked_folder_is_not_followed(root: Path) -> None:
    """A link in the folder's place is refused."""
    (root / "link").symlink_to(root / "m/1")
    with pytest.raises(errors.PipelineError):
        finished.resolve(declared("link"), root, known(root))


def test_a_single_file_gets_its_usual_name(root: Path) -> None:
    """Triton finds it under the name that its format has."""
    from pipeline.core import build  # noqa: PLC0415

    resolved = build.Resolved(kind="file", identity={"path": "a/net-v3.pt", "sha256": "d"})
    assert list(finished.copies(resolved)) == [("model.pt", "a/net-v3.pt", "d")]


def test_a_file_beside_a_config(root: Path) -> None:
    """Its digest is taken; where the spec names one, another is refused."""
    path = "m/1/model.onnx"
    assert finished.digest(spec.Beside(path=path), root, known(root)) == sha256(b"graph")
    assert finished.digest(spec.Beside(path=path, sha256=sha256(b"graph")), root, known(root)) == sha256(b"graph")
    with pytest.raises(errors.Unverified, match="expected sha256"):
        finished.digest(spec.Beside(path=path, sha256=sha256(b"other")), root, known(root))
    with pytest.raises(errors.PipelineError, match="could not read"):
        finished.digest(spec.Beside(path="nowhere"), root, known(root))


def test_a_copy_is_checked(root: Path) -> None:
    """A file that changed since its digest was taken is not taken for the one that was meant."""
    made = finished.copy(root / "m/1/model.onnx", root / "copy/a", sha256(b"graph"))
    assert (made.sha256, made.size) == (sha256(b"graph"), 5)
    with pytest.raises(errors.Unverified, match="was changed while it was copied"):
        finished.copy(root / "m/1/model.onnx", root / "copy/b", sha256(b"other"))
