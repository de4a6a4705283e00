"""The lock's text: canonical, sealed by its root digest, and refused where it is anything else."""

from __future__ import annotations

import json

import pytest

from pipeline.core import build, errors, lock

HEX = "ab" * 32


def locked() -> lock.Lock:
    """A lock of two models with two versions each."""
    version = lock.Version(
        source=build.Resolved(kind="config", identity={"architecture": "BertModel", "seed": 0}),
        key=HEX,
        files={"model.pt": build.File(sha256=HEX, size=7)},
        golden=HEX,
    )
    model = lock.Model(digest=f"sha256:{HEX}", config=HEX, versions={"2": version, "1": version})
    return lock.Lock(
        image=lock.Image(reference="triton:1"),
        toolchain={"torch": "2.13.0", "python": "3.11"},
        models={"b": model, "a": model},
    )


def test_text_reads_back_as_itself() -> None:
    """What is dumped parses to the same lock, and dumps to the same bytes."""
    text = lock.dump(locked())
    again = lock.parse(text, file="pipeline.lock")
    assert lock.dump(again) == text
    assert again.models == locked().models


def test_text_is_canonical() -> None:
    """The text is sorted JSON, indented by two, with one closing newline."""
    text = lock.dump(locked()).decode()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"


def test_every_flipped_byte_is_seen() -> None:
    """Row 31: a byte changed anywhere in the lock is refused: as JSON, as a lock, or by the root digest."""
    text = lock.dump(locked())
    for place in range(len(text) - 1):
        damaged = text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]
        with pytest.raises(errors.PipelineError):
            lock.parse(damaged, file="pipeline.lock")


def test_every_truncation_is_seen() -> None:
    """Row 31: a lock that is cut short anywhere is refused."""
    text = lock.dump(locked())
    for length in range(len(text) - 1):
        with pytest.raises(errors.PipelineError):
            lock.parse(text[:length], file="pipeline.lock")


def test_entry_of_another_lock_is_seen() -> None:
    """Row 69: a digest exchanged for another one breaks the root digest, and the message says what to do."""
    text = lock.dump(locked()).replace(b'"size": 7', b'"size": 8')
    with pytest.raises(errors.PipelineError, match="root digest") as caught:
        lock.parse(text, file="pipeline.lock")
    assert "git checkout" in caught.value.hint


def test_future_format_is_refused() -> None:
    """Rows 31 and 74: a lock of a later format is named as such, not guessed at."""
    text = lock.dump(locked()).replace(b'"format": 2', b'"format": 3')
    with pytest.raises(errors.PipelineError, match="format 3"):
        lock.parse(text, file="pipeline.lock")
