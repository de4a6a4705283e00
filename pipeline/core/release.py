"""Releases: numbered pairs of spec and lock that were live, and the history of all runs that changed something.

Their texts are sealed by a checksum and refused where one byte is not as it was written. No file and no clock: numbers,
moments and durations are given in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeVar

import msgspec

from pipeline.core import build, errors, lock, spec

FORMAT = 1
ENTRIES = 1000
"""How many entries a history keeps."""
RECOVER = "Run `recover`: it makes a new history from the releases that are kept."
DAMAGED = "Choose another release; where this is the one that was applied last, `recover` goes on from a whole one."
_MESSAGE = 1000
Result = Literal["applied", "failed", "rolled back", "interrupted"]


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """What was live once: its number, counted from 1 in the order of first success, its digest, and its texts."""

    number: int
    digest: str
    spec: str
    lock: str


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run in the history: what it was meant for (`digest`), and how it ended.

    `release` is None where a run that failed made none. `start` is in UTC (ISO 8601 with Z), `seconds` how long it
    took.
    """

    release: int | None
    digest: str
    command: str
    start: str
    seconds: float
    result: Result
    message: str = ""


class History(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was done, oldest first. `last` is the highest number that a release was ever given: none is given twice."""

    entries: tuple[Entry, ...] = ()
    last: int = 0


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a kept release says of itself: the run that made it, and the sha256 of each of its files."""

    number: int
    digest: str
    command: str
    start: str
    seconds: float
    files: dict[str, str]


_T = TypeVar("_T", History, Manifest)


def digest(declared: spec.Spec, locked: lock.Lock) -> str:
    """The digest of a release: of all that the spec says and of all that is locked.

    Comments and the order of keys in the YAML stay out. An order that reaches a model's config, such as that of its
    inputs, is in the lock's root digest.
    """
    return "sha256:" + build.digest({"spec": declared, "lock": lock.root(locked)})


def dump_spec(declared: spec.Spec) -> str:
    """The text of a resolved spec, as releases keep it: in its own order, which reaches the models' configs."""
    return msgspec.json.encode(declared).decode()


def texts(chosen: Release) -> tuple[spec.Spec, lock.Lock]:
    """The spec and the lock of a release. Raises PipelineError where another version of the pipeline wrote them."""
    name = f"release {chosen.number}"
    try:
        declared = msgspec.json.decode(chosen.spec, type=spec.Spec)
    except msgspec.DecodeError as error:
        msg = f"{name} was made by another version of the pipeline: {error}"
        hint = "Go back with that version, or `apply` the spec of that release."
        raise errors.PipelineError(msg, hint=hint) from error
    return declared, lock.parse(chosen.lock.encode(), file=f"{name}: pipeline.lock")


def add(history: History, entry: Entry) -> History:
    """The history with one entry more, and at most ENTRIES of them: the last ones, and always the last applied one."""
    plain = entry.message.encode("utf-8", "backslashreplace").decode()[:_MESSAGE]
    entries = (*history.entries, msgspec.structs.replace(entry, seconds=round(float(entry.seconds), 3), message=plain))
    return History(entries=_trimmed(entries), last=max(history.last, entry.release or 0))


def _trimmed(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    cut = max(0, len(entries) - ENTRIES)
    applied = [at for at, entry in enumerate(entries) if _is_applied(entry)]
    if applied and applied[-1] < cut:
        return (entries[applied[-1]], *entries[cut + 1 :])
    return entries[cut:]


def current(history: History) -> int | None:
    """The release that was applied last; what failed or was rolled back since does not count."""
    return next((entry.release for entry in reversed(history.entries) if _is_applied(entry)), None)


def _is_applied(entry: Entry) -> bool:
    return entry.result == "applied" and entry.release is not None


def previous(numbers: Iterable[int], current: int | None) -> int | None:
    """The highest of the kept numbers below the current one: where a rollback without a number goes."""
    return max((number for number in numbers if is_older(number, current)), default=None)


def is_older(number: int, current: int | None) -> bool:
    """Whether a release was made before the one that is live now."""
    return current is not None and number < current


def kept(numbers: Iterable[int], current: int | None, keep: int) -> frozenset[int]:
    """The numbers that stay: the last `keep` of them, and the current one however old it is."""
    ordered = sorted(numbers)
    return frozenset(ordered[max(0, len(ordered) - max(0, keep)) :]) | (frozenset(ordered) & {current})


def dump(history: History) -> bytes:
    """The text of a history: sorted JSON with its format and checksum, indented by two."""
    return _seal(history)


def parse(text: bytes, *, file: str) -> History:
    """Reads a history. Raises PipelineError where it is torn, edited, or of a later version of the pipeline."""
    return _unseal(text, History, what="a history of releases", file=file, hint=RECOVER)


def dump_manifest(manifest: Manifest) -> bytes:
    """The text of a manifest, in the form of a history's."""
    return _seal(manifest)


def parse_manifest(text: bytes, *, file: str) -> Manifest:
    """Reads a manifest. Raises PipelineError where it is torn, edited, or of a later version of the pipeline."""
    return _unseal(text, Manifest, what="the manifest of a release", file=file, hint=DAMAGED)


def _seal(value: History | Manifest) -> bytes:
    body = {**msgspec.to_builtins(value), "format": FORMAT}
    sealed = {**body, "checksum": "sha256:" + build.digest(body)}
    return msgspec.json.format(build.canonical(sealed), indent=2) + b"\n"


def _unseal(text: bytes, kind: type[_T], *, what: str, file: str, hint: str) -> _T:
    """The value whose sealed text is `text`, to the byte; nothing else is ever taken for it."""
    try:
        body = msgspec.json.decode(text, type=dict[str, object])
        found = body.pop("format", None)
        if type(found) is int and found > FORMAT:
            msg = f"{file} has format {found}, and this version reads format {FORMAT}"
            raise errors.PipelineError(msg, hint="Use the version of the pipeline that wrote it.")
        body.pop("checksum", None)
        value = msgspec.convert(body, kind)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{file} is not {what}: {error}"
        raise errors.PipelineError(msg, hint=hint) from error
    if _seal(value) != text:
        msg = f"{file} was changed by hand or damaged: its checksum does not match"
        raise errors.PipelineError(msg, hint=hint)
    return value
