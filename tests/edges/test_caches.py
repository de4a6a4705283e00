"""Caches of every kind: what is put comes back, what is wrong is a fault, and no credential is seen."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.core import action, build, errors
from pipeline.edges import caches
from tests import cache_server
from tests.edges import hub_server

BODY = b"weights" * 100_000
FILE = build.File(sha256=hashlib.sha256(BODY).hexdigest(), size=len(BODY))
NAME = action.blob(FILE.sha256)
SHORT = caches.Bounds(silence=0.5, total=1.0, megabyte=0.0)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (caches.VARIABLE, caches.TOKEN, "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[cache_server.Server]:
    """A cache that runs, and is empty."""
    with cache_server.serve() as made:
        yield made


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a bucket on a server that speaks as S3 does."""
    import boto3  # noqa: PLC0415
    from moto.server import ThreadedMotoServer  # noqa: PLC0415

    for name, value in {
        "AWS_ACCESS_KEY_ID": "canary-id",
        "AWS_SECRET_ACCESS_KEY": "canary-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ENDPOINT", f"http://{host}:{port}")
    boto3.client("s3").create_bucket(Bucket="builds")
    yield "s3://builds/some/prefix"
    running.stop()


@pytest.fixture(params=["folder", "http", "bucket"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> caches.Cache:
    """An empty cache of each kind."""
    match request.param:
        case "folder":
            address = f"file://{tmp_path}/deep/cache"
        case "http":
            address = request.getfixturevalue("server").url
        case _:
            address = request.getfixturevalue("bucket")
    return opened(address)


def opened(address: str, bounds: caches.Bounds | None = None) -> caches.Cache:
    """The cache at an address, which must be one."""
    made = caches.find(address, bounds)
    assert made is not None
    return made


def test_what_is_put_comes_back(cache: caches.Cache, tmp_path: Path) -> None:
    """Bytes and files are found again, by their size and whole; what is not there is None."""
    source = tmp_path / "source"
    source.write_bytes(BODY)
    assert cache.size(NAME) is None
    assert caches.read(cache, NAME, 10) is None
    cache.put(NAME, source)
    cache.put(action.record(FILE.sha256), b"record")
    assert cache.size(NAME) == len(BODY)
    assert caches.read(cache, action.record(FILE.sha256), 100) == b"record"
    caches.fetch(cache, FILE, tmp_path / "target" / "file")
    assert (tmp_path / "target" / "file").read_bytes() == BODY
    cache.put(action.record(FILE.sha256), b"newer")
    assert caches.read(cache, action.record(FILE.sha256), 100) == b"newer"


def test_other_bytes_are_a_fault(cache: caches.Cache, tmp_path: Path) -> None:
    """Row 9: bytes of another digest, fewer or more of them, and a blob that is gone are faults."""
    for body in (BODY[:-1] + b"!", BODY[:-1], BODY + b"!", b""):
        cache.put(NAME, body)
        with pytest.raises(action.Fault, match="it sent"):
            caches.fetch(cache, FILE, tmp_path / hashlib.sha256(body).hexdigest())
        with pytest.raises(action.Fault, match="it sent"):
            caches.blob(cache, FILE)
    gone = build.File(sha256="0" * 64, size=7)
    with pytest.raises(action.Fault, match="it lacks the blob 000"):
        caches.fetch(cache, gone, tmp_path / "gone")


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (cache_server.other_bytes, "it sent 700000 bytes of sha256"),
        (hub_server.truncated, "it broke off after 350000 of 700000 bytes|IncompleteRead"),
        (hub_server.endless, "it sent more than the 700000 bytes"),
        (cache_server.stalling, "timed out"),
        (hub_server.drip, "it took longer than 1 s|broke off"),
        (cache_server.slow_head, "it took longer than 1 s"),
        (hub_server.failing(500), "it answered .HTTP status 500."),
        (hub_server.failing(401), "it answered .HTTP status 401."),
        (hub_server.redirecting("http://169.254.169.254/latest"), "it redirects elsewhere"),
        (hub_server.redirecting("file:///etc/passwd"), "it redirects elsewhere"),
    ],
    ids=["lies", "truncates", "endless", "stalls", "drips", "slow-head", "500", "401", "redirects", "redirects-file"],
)
def test_trouble(server: cache_server.Server, tmp_path: Path, trouble: cache_server.Trouble, says: str) -> None:
    """Rows 9 to 11: whatever a server does, it is a fault within a bounded time, and no redirect is followed."""
    server.blobs[NAME] = BODY
    server.trouble = trouble
    begun = time.monotonic()
    with pytest.raises(action.Fault, match=says):
        caches.fetch(opened(server.url, SHORT), FILE, tmp_path / "file")
    assert time.monotonic() - begun < 5


def test_nobody_there(tmp_path: Path) -> None:
    """A cache that cannot be reached, and one that takes nothing, are faults."""
    with cache_server.serve() as server:
        server.refused = 403
        with pytest.raises(action.Fault, match="HTTP status 403"):
            opened(server.url).put(NAME, b"")
    with pytest.raises(action.Fault, match="refused"):
        opened(server.url).size(NAME)
    (tmp_path / "cas").symlink_to("/etc")
    assert opened(f"file://{tmp_path}").size("cas/none") is None
    (tmp_path / "ac").mkdir()
    (tmp_path / "ac/link").symlink_to("/etc/passwd")
    with pytest.raises(action.Fault):
        caches.read(opened(f"file://{tmp_path}"), "ac/link", 1 << 20)


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (cache_server.stalling, "."),
        (hub_server.failing(500), "500"),
        (cache_server.other_bytes, "it sent 700000 bytes"),
    ],
    ids=["stalls", "500", "lies"],
)
def test_half_dead_bucket(
    server: cache_server.Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    trouble: cache_server.Trouble,
    says: str,
) -> None:
    """Rows 9 and 10: a bucket whose server stalls, fails or lies is a fault within a bounded time."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, server.url.removesuffix("/base"))
    server.blobs[f"/builds/some/prefix/{NAME}"] = BODY
    server.trouble = trouble
    begun = time.monotonic()
    with pytest.raises(action.Fault, match=says) as told:
        caches.blob(opened(bucket, SHORT), FILE)
    assert time.monotonic() - begun < 10
    assert "canary" not in str(told.value)


def test_bucket_without_leave(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 63: a bucket that is not there is a fault, whose words have no key in them."""
    with pytest.raises(action.Fault) as told:
        opened("s3://another/prefix", SHORT).put(NAME, b"x")
    assert "canary" not in str(told.value)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ftp://host/x", "'ftp' is no kind of cache: expected file, http, https"),
        ("/srv/cache", "no kind of cache"),
        ("file://srv/cache", "names no folder of this machine"),
        ("http://cache.example.org/x", "anyone on the way"),
        ("https://me:canary@cache.example.org/x", "--cache has a name or a password in it"),
    ],
)
def test_address_that_is_refused(address: str, says: str) -> None:
    """An address that cannot be used is refused with what was expected, and without its password."""
    with pytest.raises(errors.PipelineError, match=says) as told:
        caches.find(address)
    assert told.value.hint
    assert "canary" not in f"{told.value.message} {told.value.hint}"


def test_obstore_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package for buckets is missing, the machine is unfit, and the hint names the group."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(errors.Unfit, match="needs the package obstore") as told:
        caches.find("s3://bucket/prefix")
    assert "nox -s environment -- cache" in told.value.hint


@pytest.mark.parametrize(
    ("prepare", "sent"),
    [
        (lambda url: {caches.VARIABLE: url, caches.TOKEN: "canary"}, "Bearer canary"),
        (lambda url: {caches.VARIABLE: url.replace("//", "//me:can%20ary@")}, "Basic bWU6Y2FuIGFyeQ=="),
        (lambda url: {caches.VARIABLE: url}, None),
    ],
    ids=["token", "password", "nobody"],
)
def test_who_we_are(
    server: cache_server.Server,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[str], dict[str, str]],
    sent: str | None,
) -> None:
    """Row 63: token or password come from the environment, are sent as headers, and are in no address or error."""
    for name, value in prepare(server.url).items():
        monkeypatch.setenv(name, value)
    cache = caches.find(None)
    assert cache is not None
    assert (cache.size(NAME), server.sent, cache.where) == (None, [sent], server.url)
    server.blobs[NAME], server.trouble = b"x", hub_server.failing(500)
    with pytest.raises(action.Fault) as told:
        caches.read(cache, NAME, 10)
    assert "canary" not in repr(cache) + str(told.value) + repr(told.value.__cause__)


def test_without_one() -> None:
    """Where no cache is named there is none, and nothing of http is imported for that."""
    assert caches.find(None) is None
    assert "PIPELINE_CACHE" not in os.environ
