"""Where what was built comes from, as data: what the provenance and the bill of materials are both made of.

What each of the two says of it stands in `statement` and `bom`. Files and wheels are read by the edges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from pipeline.core import build, lock, spec

LOCAL = "urn:triton-pipeline:builder:local"
"""Who built it, where nobody else says so."""
_UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPOSITORY = re.compile(r"(?P<name>.+?)(?::(?P<tag>[\w][\w.-]*))?(?:@(?P<digest>.+))?")


class Documents(msgspec.Struct, frozen=True, kw_only=True):
    """What is written about a build: the statement, the bill of materials, and checksums of every file."""

    statement: bytes
    bom: bytes
    subjects: bytes

    @property
    def files(self) -> dict[str, bytes]:
        """The texts by the names of their files."""
        return {
            "provenance.intoto.json": self.statement,
            "bom.cdx.json": self.bom,
            "subjects.sha256": self.subjects,
        }


class Origins(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a locked build. `built` is what the store holds, by key; `licences` what the sources say,
    by `model/version`; `packages` the pinned versions of Python's packages, by the groups that build and serve."""

    declared: spec.Spec
    locked: lock.Lock
    built: Mapping[str, build.Built]
    licences: Mapping[str, str]
    packages: Mapping[str, Mapping[str, str]]
    version: str
    builder: str = LOCAL


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """A locked version beside what the spec says of it, and its files as they are served."""

    model: spec.Model
    number: int
    locked: lock.Version
    files: Mapping[str, build.File]
    checks: tuple[str, ...]
    licence: str

    @property
    def name(self) -> str:
        """The model's name and the version's number."""
        return f"{self.model.name}/{self.number}"

    @property
    def export(self) -> spec.Export | None:
        """How it was made; None for a file that was adopted as it is."""
        return self.model.versions[self.number].export


def artifacts(known: Origins) -> Iterator[Artifact]:
    """Every locked version of the spec, by model and number."""
    for name, model in sorted(known.declared.models.items()):
        for number in sorted(model.versions):
            locked = known.locked.models[name].versions[str(number)]
            built = known.built.get(locked.key)
            files = locked.files if locked.reproducible or built is None else built.files
            yield Artifact(
                model=model,
                number=number,
                locked=locked,
                files={path: each for path, each in sorted(files.items()) if _SHA256.fullmatch(each.sha256)},
                checks=built.checks if built else (),
                licence=known.licences.get(f"{name}/{number}", ""),
            )


def packages(known: Origins) -> dict[tuple[str, str], tuple[str, ...]]:
    """Each pinned package, with the groups that have it."""
    found: dict[tuple[str, str], list[str]] = {}
    for group, pinned in sorted(known.packages.items()):
        for each in pinned.items():
            found.setdefault(each, []).append(group)
    return {each: tuple(groups) for each, groups in sorted(found.items())}


def package_url(name: str, version: str) -> str:
    """The package URL of a Python package (package-url specification, type pypi)."""
    return f"pkg:pypi/{quote(re.sub(r'[-_.]+', '-', name).lower())}@{quote(version)}"


def source_url(source: build.Resolved) -> str:
    """The package URL of a source that others have too; empty for what only this project has."""
    told = source.identity
    if source.kind == "hub":
        return f"pkg:huggingface/{quote(told['repo'], safe='/')}@{told['commit']}"
    return package_url(told["name"], told["version"]) if source.kind == "wheel" else ""


def revision(source: build.Resolved) -> str:
    """Which state of the source was taken: a commit, a version, or the digest of what pins it."""
    told = source.identity
    named = {"hub": "commit", "wheel": "version"}.get(source.kind)
    return str(told[named]) if named else "sha256:" + build.digest(source)


def image_url(image: lock.Image) -> str:
    """The package URL of a container image (type oci); without a digest where none is pinned."""
    found = _REPOSITORY.fullmatch(image.reference)
    assert found is not None  # noqa: S101 - any text is a name
    at = f"@{quote(image.digest)}" if image.digest else ""
    tag = f"&tag={quote(found['tag'])}" if found["tag"] else ""
    last = found["name"].rpartition("/")[2].lower()
    return f"pkg:oci/{quote(last)}{at}?repository_url={quote(found['name'].lower(), safe='/')}{tag}"


def quote(text: str, *, safe: str = "") -> str:
    """Text as a part of a package URL: letters that mean something there are percent-encoded (RFC 3986)."""
    return "".join(chr(byte) if chr(byte) in f"{_UNRESERVED}{safe}" else f"%{byte:02X}" for byte in text.encode())


def dump(document: Mapping[str, object]) -> bytes:
    """The text of a document: sorted, indented by two, the same bytes wherever it is written."""
    return msgspec.json.format(build.canonical(document), indent=2) + b"\n"
