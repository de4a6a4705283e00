"""Share: what a cache has is taken whole or not at all, and given in an order in which nobody sees a half."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pipeline.core import action, build, errors, lock, spec
from pipeline.edges import caches, digests, files, store
from pipeline.stages import share
from tests import cache_server, faults
from tests.edges import hub_server, releaser

SHORT = caches.Bounds(silence=0.3, total=0.6, megabyte=0.0)
WORDS = ("one", "two", "three", "four")


def asked(word: str) -> build.Build:
    """A build that stands for a word."""
    return build.Build(
        model=word,
        version=1,
        source=build.Resolved(kind="config", identity={}),
        export=None,
        max_batch_size=0,
        inputs={},
        outputs={},
        axes={},
        golden=spec.Golden(),
        batches=(1,),
        tokenizer=None,
        toolchain={},
        exporter=1,
    )


MISSING = {releaser.key(word): asked(word) for word in WORDS}


@pytest.fixture
def server() -> Iterator[cache_server.Server]:
    """A cache that runs, and is empty."""
    with cache_server.serve() as made:
        yield made


def opened(server: cache_server.Server) -> caches.Cache:
    """The cache of a server, with little patience."""
    made = caches.find(server.url, SHORT)
    assert made is not None
    return made


def a_store(root: Path, *words: str) -> store.Store:
    """A store with the entries of some words."""
    made = store.Store(root / "store", digests.Digests(root / "digests"))
    for word in words:
        releaser.put(made, word)
    return made


def pinned(stored: store.Store) -> dict[str, lock.Version]:
    """What a lock would pin of a store's entries."""
    found = {key: stored.get(key) for key in stored.entries()}
    source = build.Resolved(kind="config", identity={})
    return {
        key: lock.Version(source=source, key=key, files=each.files, golden=each.golden)
        for key, each in found.items()
        if each is not None
    }


def give(server: cache_server.Server, stored: store.Store, broken: frozenset[str] = frozenset()) -> list[str]:
    """Gives all of a store to a cache; what was said."""
    said: list[str] = []
    share.give(stored.keys(), broken=broken, cache=opened(server), stored=stored, say=said.append)
    return said


def take(
    server: cache_server.Server, stored: store.Store, known: dict[str, lock.Version] | None = None
) -> tuple[share.Taken, list[str]]:
    """Takes all words from a cache; what came of it, and what was said."""
    said: list[str] = []
    made = share.take(MISSING, known or {}, cache=opened(server), stored=stored, say=said.append)
    return made, said


def test_given_and_taken(server: cache_server.Server, tmp_path: Path) -> None:
    """Another store gets the same entries, byte for byte and read-only; what the cache lacks is left to be built."""
    first, second = a_store(tmp_path / "a", "one", "two"), a_store(tmp_path / "b")
    assert give(server, first) == [f"gave 2 builds to the cache {server.url}"]
    made, said = take(server, second, pinned(first))
    assert made == share.Taken(keys=first.keys())
    assert said == ["took one version 1 from the cache (0.0 MB)", "took two version 1 from the cache (0.0 MB)"]
    assert faults.contents(second.folder) == faults.contents(first.folder)
    assert all(second.check(key) == () for key in second.entries())
    assert faults.leftovers(tmp_path) == []


def test_the_caches_word_is_told(server: cache_server.Server, tmp_path: Path) -> None:
    """Bytes that no lock pins are the cache's word, and said to be."""
    give(server, a_store(tmp_path / "a", "one"))
    made, said = take(server, a_store(tmp_path / "b"))
    assert len(made.keys) == 1
    assert said == ["took one version 1 from the cache (0.0 MB), which the lock does not know yet"]


def test_the_record_comes_last(server: cache_server.Server, tmp_path: Path) -> None:
    """Who reads a record finds everything that it names; what is there already is not sent again."""
    stored = a_store(tmp_path, "one")
    give(server, stored)
    puts = [each for each in server.asked if each.startswith("PUT")]
    assert [each[4:7] for each in puts] == ["cas"] * 3 + ["ac/"]
    server.asked.clear()
    assert give(server, stored) == []
    assert server.asked == [f"GET {action.record(releaser.key('one'))}"]
    del server.blobs[action.record(releaser.key("one"))]
    server.asked.clear()
    give(server, stored)
    assert [each[:7] for each in server.asked if each.startswith("PUT")] == ["PUT ac/"]


TROUBLE = {
    "lies": cache_server.other_bytes,
    "truncates": hub_server.truncated,
    "endless": hub_server.endless,
    "stalls": cache_server.stalling,
    "drips": hub_server.drip,
    "500": hub_server.failing(500),
    "redirects": hub_server.redirecting("http://127.0.0.1:9/elsewhere"),
}


@pytest.mark.parametrize("trouble", sorted(TROUBLE))
def test_a_bad_cache_costs_time_only(server: cache_server.Server, tmp_path: Path, trouble: str) -> None:
    """Rows 9 to 11: whatever the cache does, nothing of it gets into the store; it is told in a line a fault, and asked
    no more after three."""
    first, second = a_store(tmp_path / "a", *WORDS), a_store(tmp_path / "b")
    give(server, first)
    server.trouble = TROUBLE[trouble]
    begun = time.monotonic()
    made, said = take(server, second, pinned(first))
    assert time.monotonic() - begun < 10
    assert (made.keys, len(made.broken)) == (frozenset(), share.FAULTS)
    assert second.entries() == frozenset()
    assert faults.leftovers(tmp_path) == []
    assert [line.partition(" version")[0] for line in said[:-1]] == list(WORDS[:3])
    assert said[-1] == "the cache is not asked any more in this run: 3 faults"


def test_one_fault_is_one_build(server: cache_server.Server, tmp_path: Path) -> None:
    """A blob that is gone, or a manifest of another build, is one fault: the rest is taken, and `give` mends it."""
    first, second = a_store(tmp_path / "a", *WORDS), a_store(tmp_path / "b")
    give(server, first)
    one, two = (first.get(releaser.key(word)) for word in ("one", "two"))
    assert one is not None
    assert two is not None
    server.blobs[action.blob(one.golden)] = b"rotten bytes".ljust(len(b"golden of one"), b"!")
    server.blobs[action.record(two.key)] = server.blobs[action.record(releaser.key("three"))]
    made, said = take(server, second, pinned(first))
    assert made.keys == {releaser.key("three"), releaser.key("four")}
    assert made.broken == {one.key, two.key}
    got = hashlib.sha256(b"rotten bytes!").hexdigest()
    assert [line.partition(f" {server.url}: ")[2] for line in said if "is not taken" in line] == [
        f"it sent 13 bytes of sha256 {got}, expected 13 of {one.golden}",
        f"it has the build {releaser.key('three')} in its place",
    ]
    give(server, first, made.broken)
    assert take(server, a_store(tmp_path / "c"), pinned(first))[0].keys == first.keys()


def test_lock_has_the_last_word(server: cache_server.Server, tmp_path: Path) -> None:
    """Row 69: an entry that is whole, and not what the lock pins, is not taken."""
    first = a_store(tmp_path / "a", "one")
    give(server, first)
    known = {key: msgspec.structs.replace(each, golden="0" * 64) for key, each in pinned(first).items()}
    made, said = take(server, a_store(tmp_path / "b"), known)
    assert made.keys == frozenset()
    assert said == [
        f"one version 1 is not taken from the cache {server.url}: its bytes are not those that the lock pins"
    ]


def test_a_cache_that_takes_nothing(server: cache_server.Server, tmp_path: Path) -> None:
    """A cache that refuses to be written is told, given up after three faults, and nothing fails."""
    server.refused = 403
    said = give(server, a_store(tmp_path, *WORDS))
    assert len(said) == 4
    assert said[0].endswith("it answered (HTTP status 403)")
    assert said[-1] == "the cache is given no more in this run: 3 faults"
    assert server.blobs == {}


def test_damage_is_given_to_nobody(server: cache_server.Server, tmp_path: Path) -> None:
    """Row 32: an entry whose bytes were changed is quarantined, and not published."""
    stored = a_store(tmp_path, "one")
    target = stored.path(releaser.key("one")) / "model.pt"
    data = bytearray(target.read_bytes())
    data[7] ^= 1
    target.chmod(0o644)
    target.write_bytes(bytes(data))
    with pytest.raises(errors.Unverified, match="is damaged"):
        give(server, stored)
    assert (server.blobs, stored.entries()) == ({}, frozenset())


def test_a_folder_is_a_cache_too(tmp_path: Path) -> None:
    """Files that others may read, published by a rename: nothing unfinished is left."""
    place = tmp_path / "cache"
    cache = caches.find(f"file://{place}")
    assert cache is not None
    first, second = a_store(tmp_path / "a", "one"), a_store(tmp_path / "b")
    share.give(first.keys(), broken=frozenset(), cache=cache, stored=first, say=print)
    share.take(MISSING, pinned(first), cache=cache, stored=second, say=print)
    assert faults.contents(second.folder) == faults.contents(first.folder)
    assert {path.stat().st_mode & 0o777 for path in place.rglob("*") if path.is_file()} == {0o644}
    assert [path for path in place.rglob("*") if files.is_temporary(path.name)] == []
