"""The hub source against a real HTTP server: pins, digests, and every way in which a hub can misbehave."""

from __future__ import annotations

import hashlib
import http.server
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import build, errors, spec
from pipeline.edges import sources
from pipeline.edges.sources import download, request
from tests.edges import hub_server

WEIGHTS = bytes(range(256)) * 16
CONFIG = json.dumps({"architectures": ["BertModel"]}).encode()
FILES = {
    "config.json": CONFIG,
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"pickle",
    "README.md": b"read",
    "onnx/model.onnx": b"other",
}
TAKEN = {"config.json", "model.safetensors", "tokenizer.json"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """A hub with one good repository."""
    with hub_server.serve(dict(FILES)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


def _resolve(folder: Path, *, online: bool = True, locked: build.Resolved | None = None, **more: Any) -> build.Resolved:
    declared = spec.HubSource(**{"repo": "someone/model", "revision": "main", **more})
    return sources.resolve(
        spec.Source(hub=declared),
        root=folder, cache=folder / "cache", locked=locked, online=online, digest_file=request.sha256_of,
    )  # fmt: skip


def _fetch(resolved: build.Resolved, folder: Path) -> Path:
    found = sources.fetch(resolved, root=folder, cache=folder / "cache", say=lambda _: None)
    assert found is not None
    return found


def _tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_branch_becomes_commit_and_digests(hub: hub_server.Hub, tmp_path: Path) -> None:
    """Row 8: online, a branch resolves to its full commit, with digest and size of each file that a load reads."""
    resolved = _resolve(tmp_path)
    assert resolved.identity["commit"] == hub_server.COMMIT
    assert resolved.files == {name: hashlib.sha256(FILES[name]).hexdigest() for name in TAKEN}
    assert resolved.identity["sizes"] == {name: len(FILES[name]) for name in TAKEN}


def test_licence_of_the_card_is_pinned(hub: hub_server.Hub, tmp_path: Path) -> None:
    """The lock has the licence that the card names; it changes neither the key nor where the files are kept."""
    plain = _resolve(tmp_path)
    hub.listing = lambda answer: {**answer, "cardData": {"license": "apache-2.0"}}
    told = _resolve(tmp_path)
    assert (plain.licence, told.licence) == ("", "apache-2.0")
    assert sources.licence(told, root=tmp_path, cache=tmp_path / "cache", say=print) == "apache-2.0"
    assert _fetch(told, tmp_path) == _fetch(plain, tmp_path)
    hub.listing = lambda answer: {**answer, "cardData": {"license": ["mit", "other"]}}
    assert _resolve(tmp_path).licence == ""


def test_fetch_brings_what_is_locked_once(hub: hub_server.Hub, tmp_path: Path) -> None:
    """Row 14: fetching brings the locked files, and a second time asks the hub for nothing."""
    folder = _fetch(resolved := _resolve(tmp_path), tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name: FILES[name] for name in TAKEN}
    hub.requests.clear()
    assert _fetch(resolved, tmp_path) == folder
    assert hub.requests == []


def test_damaged_cache_is_fetched_again(hub: hub_server.Hub, tmp_path: Path) -> None:
    """A cached file with other bytes is replaced."""
    folder = _fetch(resolved := _resolve(tmp_path), tmp_path)
    (folder / "model.safetensors").write_bytes(b"damaged")
    _fetch(resolved, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_offline_needs_the_lock(hub: hub_server.Hub, tmp_path: Path) -> None:
    """Row 8: without network a pinned source resolves from the lock, and an unpinned one says to run `lock`."""
    resolved = _resolve(tmp_path)
    hub.requests.clear()
    assert _resolve(tmp_path, online=False, locked=resolved) == resolved
    for changed in ({"revision": "v2"}, {"repo": "someone/other"}, {"architecture": "BertModel"}):
        with pytest.raises(errors.PipelineError, match="not pinned in the lock") as caught:
            _resolve(tmp_path, online=False, locked=resolved, **changed)
        assert "`lock`" in caught.value.hint
    assert hub.requests == []


def test_full_commit_must_be_the_one(hub: hub_server.Hub, tmp_path: Path) -> None:
    """A hub that answers another commit than the one asked for is refused."""
    with pytest.raises(errors.PipelineError, match="answered commit"):
        _resolve(tmp_path, revision="f" * 40)


def test_other_bytes_of_the_same_size(hub: hub_server.Hub, tmp_path: Path) -> None:
    """Row 9: other bytes of the same size are a digest error naming both digests, and are kept nowhere."""
    resolved = _resolve(tmp_path)
    hub.files["model.safetensors"] = WEIGHTS[::-1]
    with pytest.raises(errors.Unverified) as caught:
        _fetch(resolved, tmp_path)
    assert resolved.files["model.safetensors"] in caught.value.message
    assert hashlib.sha256(WEIGHTS[::-1]).hexdigest() in caught.value.message
    assert not any("safetensors" in name for name in _tree(tmp_path))


Trouble = Callable[[http.server.BaseHTTPRequestHandler, bytes], bool]


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (hub_server.truncated, "the body ended after"),
        (hub_server.drip, "longer than"),
        (hub_server.endless, "more than the 4096 bytes"),
        (hub_server.failing(500), "HTTP status 500, after 3 attempts"),
        (hub_server.failing(429), "HTTP status 429, after 3 attempts"),
        (hub_server.failing(404), "HTTP status 404"),
        (hub_server.redirecting("file:///etc/passwd"), "refused a redirect"),
        (hub_server.redirecting("http://169.254.169.254/latest/meta-data"), "refused a redirect"),
        (hub_server.redirecting("https://169.254.169.254/latest"), "refused a redirect"),
        (hub_server.redirecting("https://10.0.0.1/"), "refused a redirect"),
        (hub_server.redirecting("http://example.com/"), "refused a redirect"),
        (hub_server.redirecting("ftp://example.com/x"), "refused a redirect"),
    ],
)
def test_trouble_is_bounded_and_told(hub: hub_server.Hub, tmp_path: Path, trouble: Trouble, says: str) -> None:
    """Rows 10 and 11: a broken, slow, endless or luring answer ends in a clear error within the bounds."""
    hub.trouble = trouble
    bounds = download.Bounds(attempts=3, total_seconds=1.5, silence_seconds=1.0, pause_seconds=0.01)
    began = time.monotonic()
    url = f"{hub.url}/someone/model/resolve/{hub_server.COMMIT}/model.safetensors"
    with pytest.raises(errors.PipelineError, match=says):
        download.get(url, headers={}, limit=len(WEIGHTS), bounds=bounds)
    assert time.monotonic() - began < 4


def test_passing_trouble_is_survived(hub: hub_server.Hub, tmp_path: Path) -> None:
    """Two failures and then the file: the download succeeds."""
    resolved = _resolve(tmp_path)
    hub.trouble = hub_server.failing(503, times=2)
    assert (_fetch(resolved, tmp_path) / "model.safetensors").read_bytes() == WEIGHTS


def test_token_is_sent_to_its_host_only(hub: hub_server.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 63: HF_TOKEN goes to the hub, stays behind at a redirect to another host, and stands in nothing resolved."""
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    resolved = _resolve(tmp_path)
    assert set(hub.tokens) == {"Bearer hf_canary"}
    assert b"canary" not in build.canonical(resolved)
    with hub_server.serve({}) as other:
        other.files = {"model.safetensors": WEIGHTS}
        place = f"{other.url}/someone/model/resolve/{hub_server.COMMIT}/model.safetensors"
        redirect = hub_server.redirecting(place)
        hub.trouble = lambda handler, body: body == WEIGHTS and redirect(handler, body)
        _fetch(resolved, tmp_path)
        assert other.tokens == [None]


@pytest.mark.parametrize(
    "name", ["../../evil.json", "/etc/evil.json", "a\\b.json", "line\nbreak.json", "x/../../y.json"]
)
def test_unsafe_names_are_refused(hub: hub_server.Hub, tmp_path: Path, name: str) -> None:
    """Row 12: a repository with a file name that leads elsewhere is refused, and nothing is written."""
    hub.files[name] = b"evil"
    with pytest.raises(errors.PipelineError, match="unsafe name"):
        _resolve(tmp_path)
    assert _tree(tmp_path) == set()


def test_only_pickle_is_refused(hub: hub_server.Hub, tmp_path: Path) -> None:
    """Row 13: a repository whose only weights are pickled is refused."""
    del hub.files["model.safetensors"]
    with pytest.raises(errors.PipelineError, match=r"only pickled weights \(pytorch_model.bin\)"):
        _resolve(tmp_path)


def test_remote_code_needs_its_digest(hub: hub_server.Hub, tmp_path: Path) -> None:
    """Row 13: auto_map is refused with the digest named; with it that code is taken, and other code is not."""
    hub.files["config.json"] = json.dumps({"auto_map": {"AutoModel": "code.Model"}}).encode()
    hub.files["code.py"] = b"class Model: ..."
    with pytest.raises(errors.PipelineError, match="auto_map") as caught:
        _resolve(tmp_path)
    digest = build.digest({"code.py": hashlib.sha256(hub.files["code.py"]).hexdigest()})
    assert digest in caught.value.hint
    assert "code.py" in _resolve(tmp_path, remote_code=digest).files
    hub.files["code.py"] = b"import os"
    with pytest.raises(errors.Unverified, match="not the ones that remote_code allows"):
        _resolve(tmp_path, remote_code=digest)


def test_code_without_leave_is_not_taken(hub: hub_server.Hub, tmp_path: Path) -> None:
    """Python files of a repository that does not need them are left where they are."""
    hub.files["train.py"] = b"print()"
    assert set(_resolve(tmp_path).files) == TAKEN


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"sha": "main", "siblings": []},
        {"sha": hub_server.COMMIT, "siblings": [{}]},
        {"sha": hub_server.COMMIT, "siblings": [{"rfilename": "config.json"}, {"rfilename": "a.safetensors"}]},
    ],
)
def test_strange_listing_is_a_clear_error(hub: hub_server.Hub, tmp_path: Path, answer: dict[str, object]) -> None:
    """A listing that is not one is an error that points to the hub."""
    hub.listing = lambda _: answer
    with pytest.raises(errors.PipelineError) as caught:
        _resolve(tmp_path)
    assert "HF_ENDPOINT" in caught.value.hint
