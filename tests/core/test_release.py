"""Releases: what makes a new one, what the history says of them, and texts that are never guessed at."""

from __future__ import annotations

import string
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import build, errors, lock, parse, release

HEX = "ab" * 32

SPEC = """\
version: 1
target:
  image: nvcr.io/nvidia/tritonserver:23.08-py3
  ports: {http: 8000, grpc: 8001, metrics: 8002}
models:
  tiny:
    source: {config: {architecture: BertModel, options: {a: 1, b: 2}, seed: 0}}
    export: trace
    max_batch_size: 4
    inputs: {x: {dtype: INT32, shape: [batch, 3]}}
    outputs: {y: {dtype: FP32, shape: [batch, 2]}}
"""
REORDERED = """\
# The same, as another hand would write it.
models:
  tiny:
    outputs: {y: {shape: [batch, 2], dtype: FP32}}
    inputs: {x: {shape: [batch, 3], dtype: INT32}}
    max_batch_size: 4
    export: {method: trace}
    source:
      config: {seed: 0, options: {b: 2, a: 1}, architecture: BertModel}
target:
  ports: {metrics: 8002, grpc: 8001, http: 8000}  # the usual ones
  image: nvcr.io/nvidia/tritonserver:23.08-py3
version: 1
"""


def locked(config: str = HEX) -> lock.Lock:
    """A lock of one model."""
    source = build.Resolved(kind="config", identity={"architecture": "BertModel"})
    version = lock.Version(source=source, key=HEX, files={"model.pt": build.File(sha256=HEX, size=7)}, golden=HEX)
    model = lock.Model(digest=f"sha256:{HEX}", config=config, versions={"1": version})
    return lock.Lock(image=lock.Image(reference="triton:1"), toolchain={"torch": "2.13.0"}, models={"tiny": model})


def entry(number: int | None, result: release.Result = "applied", **fields: object) -> release.Entry:
    """An entry of the history."""
    made = release.Entry(
        release=number,
        digest=f"sha256:{HEX}",
        command="apply",
        start="2026-01-02T03:04:05Z",
        seconds=1.5,
        result=result,
    )
    return msgspec.structs.replace(made, **fields)


def history(*entries: release.Entry) -> release.History:
    """A history of these entries."""
    made = release.History()
    for each in entries:
        made = release.add(made, each)
    return made


MANIFEST = release.Manifest(
    number=3, digest=f"sha256:{HEX}", command="apply", start="2026-01-02T03:04:05Z", seconds=1.5, files={"a": HEX}
)
TEXTS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "history": (
        release.dump(history(entry(1), entry(None, "failed", message="disk full"))),
        lambda text: release.parse(text, file="history.json"),
    ),
    "manifest": (release.dump_manifest(MANIFEST), lambda text: release.parse_manifest(text, file="release.json")),
}


class TestDigest:
    """What makes another release."""

    def test_comments_and_order_do_not_count(self) -> None:
        """A spec written in another order, with comments and long forms, is the same release."""
        one, other = (parse.parse_spec(text.encode(), file="pipeline.yaml") for text in (SPEC, REORDERED))
        assert release.digest(one, locked()) == release.digest(other, locked())

    @pytest.mark.parametrize(("old", "new"), [("8000", "8010"), ("seed: 0", "seed: 1"), ("batch, 3]", "batch, 4]")])
    def test_every_value_counts(self, old: str, new: str) -> None:
        """A port, a seed or a shape makes another release."""
        one, other = (parse.parse_spec(text.encode(), file="x") for text in (SPEC, SPEC.replace(old, new)))
        assert release.digest(one, locked()) != release.digest(other, locked())

    def test_the_lock_counts(self) -> None:
        """Other locked bytes are another release, whether or not the lock is sealed already."""
        declared = parse.parse_spec(SPEC.encode(), file="x")
        sealed = lock.parse(lock.dump(locked()), file="x")
        assert release.digest(declared, sealed) == release.digest(declared, locked())
        assert release.digest(declared, locked("cd" * 32)) != release.digest(declared, locked())
        assert release.digest(declared, locked()).startswith("sha256:")


class TestHistory:
    """What the entries say."""

    @pytest.mark.parametrize(
        ("entries", "expected"),
        [
            ([], None),
            ([entry(None, "failed")], None),
            ([entry(1), entry(2)], 2),
            ([entry(1), entry(2), entry(None, "failed"), entry(3, "rolled back"), entry(None, "interrupted")], 2),
            ([entry(1), entry(2), entry(1, command="rollback")], 1),
        ],
        ids=["empty", "never", "newest", "failures since", "gone back"],
    )
    def test_current_is_what_was_applied_last(self, entries: list[release.Entry], expected: int | None) -> None:
        """Failures since do not count, a rollback does."""
        assert release.current(history(*entries)) == expected

    def test_numbers_are_never_given_twice(self) -> None:
        """The history knows the highest number, whatever was applied after it."""
        assert history(entry(1), entry(7), entry(2), entry(None, "failed")).last == 7

    def test_only_the_last_entries_stay(self) -> None:
        """A history is cut to its last entries, and never loses what is current."""
        full = release.History(entries=(entry(1), entry(2), *[entry(None, "failed")] * (release.ENTRIES - 2)), last=2)
        grown = release.add(full, entry(None, "failed", message="newest"))
        assert len(grown.entries) == release.ENTRIES
        assert (grown.entries[0].release, grown.entries[-1].message) == (2, "newest")
        for _ in range(3):
            grown = release.add(grown, entry(None, "failed"))
        assert len(grown.entries) == release.ENTRIES
        assert (release.current(grown), grown.last) == (2, 2)

    def test_any_message_can_be_kept(self) -> None:
        """A file name that is no text, and a long log, become text of bounded length that reads back."""
        kept = history(entry(None, "failed", message="\udcff" + "x" * 9999, seconds=3))
        assert len(kept.entries[0].message) == 1000
        assert release.parse(release.dump(kept), file="x") == kept

    @pytest.mark.parametrize(
        ("numbers", "current", "expected"),
        [
            ((), None, None),
            ((1,), 1, None),
            ((1, 2, 5), 5, 2),
            ((1, 2, 5), 2, 1),
            ((2, 3), 1, None),
            ((1, 2), None, None),
        ],
    )
    def test_previous(self, numbers: tuple[int, ...], current: int | None, expected: int | None) -> None:
        """The way back leads to the next older release that is kept."""
        assert release.previous(numbers, current) == expected

    def test_older(self) -> None:
        """Older is what has a lower number than the current; nothing is, where none is current."""
        assert [release.is_older(number, 3) for number in (2, 3, 4)] == [True, False, False]
        assert not release.is_older(1, None)

    @given(st.frozensets(st.integers(1, 50)), st.none() | st.integers(1, 50), st.integers(-1, 10))
    def test_kept(self, numbers: frozenset[int], current: int | None, keep: int) -> None:
        """The last ones stay, and the current one; nothing else, and nothing that is not there."""
        stay = release.kept(numbers, current, keep)
        assert stay <= numbers
        assert set(sorted(numbers, reverse=True)[: max(0, keep)]) <= stay
        assert len(stay) <= max(0, keep) + 1
        assert (current in stay) == (current in numbers)


printable = st.text(max_size=20)
entries = st.builds(
    release.Entry,
    release=st.none() | st.integers(1, 10**9),
    digest=printable,
    command=st.text(string.ascii_letters, max_size=8),
    start=printable,
    seconds=st.floats(0, 1e9) | st.integers(0, 10**6),
    result=st.sampled_from(["applied", "failed", "rolled back", "interrupted"]),
    message=printable,
)


class TestTexts:
    """What is read is what was written, to the byte, or is refused."""

    @given(st.lists(entries, max_size=5))
    def test_a_history_reads_back(self, given_entries: list[release.Entry]) -> None:
        """Any history is itself again."""
        made = history(*given_entries)
        assert release.parse(release.dump(made), file="x") == made

    def test_a_manifest_reads_back(self) -> None:
        """A manifest is itself again."""
        assert release.parse_manifest(release.dump_manifest(MANIFEST), file="x") == MANIFEST

    @pytest.mark.parametrize("kind", TEXTS)
    def test_every_flipped_byte_is_seen(self, kind: str) -> None:
        """Row 31: any byte that changed, in its lowest bit or in case, is refused with a way out."""
        text, read = TEXTS[kind]
        for at in range(len(text)):
            for bit in (1, 0x20):
                with pytest.raises(errors.PipelineError) as caught:
                    read(text[:at] + bytes([text[at] ^ bit]) + text[at + 1 :])
                assert caught.value.hint

    @pytest.mark.parametrize("kind", TEXTS)
    def test_every_truncation_is_seen(self, kind: str) -> None:
        """Row 31: a text cut short anywhere is refused, and so is one with something after it."""
        text, read = TEXTS[kind]
        for cut in [*(text[:length] for length in range(len(text))), text + b"\n", text + text]:
            with pytest.raises(errors.PipelineError):
                read(cut)

    @pytest.mark.parametrize("kind", TEXTS)
    @pytest.mark.parametrize(
        "text",
        [b"", b"\xff\xfe", b"null", b"[]", b"{}", b"{" * 5000, b"[" * 100_000, b'{"format": true}', b'{"format": "1"}'],
        ids=["empty", "no text", "null", "list", "object", "deep", "deeper", "boolean", "string"],
    )
    def test_garbage_is_refused(self, kind: str, text: bytes) -> None:
        """Row 31: what is no such text at all is named with the file."""
        with pytest.raises(errors.PipelineError, match=r"\.json"):
            TEXTS[kind][1](text)

    @pytest.mark.parametrize("kind", TEXTS)
    def test_a_later_format_is_named(self, kind: str) -> None:
        """Row 74: a text of a later version asks for that version, and is not called damaged."""
        text, read = TEXTS[kind]
        with pytest.raises(errors.PipelineError, match="has format 12") as caught:
            read(text.replace(b'"format": 1', b'"format": 12').replace(b'"number"', b'"number_of_tomorrow"'))
        assert "version of the pipeline" in caught.value.hint

    def test_texts_of_format_1_are_read_for_ever(self) -> None:
        """Row 74: texts as the first version wrote them are read by every later one."""
        assert release.parse(OLD_HISTORY, file="x") == history(
            entry(1), entry(None, "failed", message='the "disk" is full', seconds=0.25)
        )
        assert release.parse_manifest(OLD_MANIFEST, file="x") == MANIFEST


OLD_HISTORY = rb"""{
  "checksum": "sha256:0b8c6bfa5090148a4e46247213527b54cbeb0c7bf61eac8529717774f3118dc6",
  "entries": [
    {
      "command": "apply",
      "digest": "sha256:abababababababababababababababababababababababababababababababab",
      "message": "",
      "release": 1,
      "result": "applied",
      "seconds": 1.5,
      "start": "2026-01-02T03:04:05Z"
    },
    {
      "command": "apply",
      "digest": "sha256:abababababababababababababababababababababababababababababababab",
      "message": "the \"disk\" is full",
      "release": null,
      "result": "failed",
      "seconds": 0.25,
      "start": "2026-01-02T03:04:05Z"
    }
  ],
  "format": 1,
  "last": 1
}
"""
OLD_MANIFEST = rb"""{
  "checksum": "sha256:8a59a8b7f2b23421236aea3215a178ab4de8486ce59083350257f9d6428b1014",
  "command": "apply",
  "digest": "sha256:abababababababababababababababababababababababababababababababab",
  "files": {
    "a": "abababababababababababababababababababababababababababababababab"
  },
  "format": 1,
  "number": 3,
  "seconds": 1.5,
  "start": "2026-01-02T03:04:05Z"
}
"""
