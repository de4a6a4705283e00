"""The lock: the digests that make a build repeatable, as canonical text. It has no clock and no path in it.

What should be locked is decided in `layout`; where the text lies is known to the edges.
"""

from __future__ import annotations

import msgspec

from pipeline.core import build, errors

FORMAT = 2
BESIDE = "files"
"""What the files beside a model's config are called, where a version has its number."""


class Version(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A locked version: where it came from, the key it is stored under, and the sha256 of everything built.

    One that is not `reproducible` has other bytes wherever it is built: its files are named, and the key is all that
    identifies them.
    """

    source: build.Resolved
    key: str
    files: dict[str, build.File]
    golden: str
    reproducible: bool = True


class Beside(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The files that lie beside a model's config: the key that they are stored under, and the sha256 of each. `rows`
    are the shapes of the rows of goldens among them, by input."""

    key: str
    files: dict[str, build.File]
    rows: dict[str, tuple[int, ...]] = {}


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A locked model. `digest` names its versions, its config and the files beside that, and stands in the live config;
    `config` is the sha256 of the text of `config.pbtxt`."""

    digest: str
    config: str
    versions: dict[str, Version]
    beside: Beside | None = None

    @property
    def keys(self) -> frozenset[str]:
        """The keys of all store entries that its files come from."""
        beside = {self.beside.key} if self.beside else set()
        return frozenset({version.key for version in self.versions.values()} | beside)


class Image(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The image as the spec names it, and which one that was: by the digest that registries know it by, or by the id
    of one that was built here. Neither is there before a machine with an engine has locked it."""

    reference: str
    digest: str = ""
    id: str = ""

    @property
    def pinned(self) -> bool:
        """Whether it is known which image the name meant."""
        return bool(self.digest or self.id)


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """All that is locked. `digest` is the root over the rest, `toolchain` has the versions it was built with."""

    format: int = FORMAT
    digest: str = ""
    image: Image
    toolchain: dict[str, str]
    models: dict[str, Model]


def root(lock: Lock) -> str:
    """The root digest: equal if and only if everything else in the lock is."""
    return "sha256:" + build.digest(msgspec.structs.replace(lock, digest=""))


def dump(lock: Lock) -> bytes:
    """The text of a lock with its root digest: sorted, indented by two, with a closing newline."""
    sealed = msgspec.structs.replace(lock, digest=root(lock))
    return msgspec.json.format(build.canonical(sealed), indent=2) + b"\n"


def parse(text: bytes, *, file: str) -> Lock:
    """Reads a lock. Raises PipelineError where it is damaged, edited by hand or of another format."""
    try:
        head = msgspec.json.decode(text, type=dict[str, object])
        if head.get("format") != FORMAT:
            msg = f"{file} has format {head.get('format')!r}, and this version reads format {FORMAT}"
            raise errors.PipelineError(msg, hint="Use the version of the pipeline that wrote it, or make it anew.")
        lock = msgspec.convert(head, Lock)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{file} is not a lock: {error}"
        raise errors.PipelineError(msg, hint=_RESTORE) from error
    if lock.digest != root(lock):
        msg = f"{file} was changed by hand or damaged: its root digest does not match"
        raise errors.PipelineError(msg, hint=_RESTORE)
    return lock


_RESTORE = "Restore it from git (`git checkout pipeline.lock`), or remove it and run `export` to make it anew."


def image(lock: Lock | None, reference: str) -> Image:
    """The locked image of this name, pinned if it ever was."""
    return lock.image if lock is not None and lock.image.reference == reference else Image(reference=reference)


def identity(version: Version) -> dict[str, str]:
    """What tells a version from any other: the digests of its files, or the key of what they were made from."""
    if not version.reproducible:
        return {"key": version.key}
    return {name: file.sha256 for name, file in version.files.items()}


def keys(lock: Lock | None) -> dict[str, str]:
    """The key of every store entry that is locked, by `model/version`, and by `model/files` for those beside it."""
    models = lock.models if lock else {}
    found = {f"{name}/{number}": each.key for name, model in models.items() for number, each in model.versions.items()}
    return found | {f"{name}/{BESIDE}": model.beside.key for name, model in models.items() if model.beside}


def pinned(lock: Lock | None) -> dict[str, Version]:
    """The locked versions by their keys."""
    models = lock.models.values() if lock else ()
    return {each.key: each for model in models for each in model.versions.values()}


def version(lock: Lock | None, model: str, number: int) -> Version | None:
    """The locked version of a model, if there is one."""
    known = lock.models.get(model) if lock else None
    return known.versions.get(str(number)) if known else None
