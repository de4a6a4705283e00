"""References to container images: `registry/name:tag@digest`, and what the tags of NVIDIA's Triton images say."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import msgspec

from pipeline.core import errors

TRITON = "nvcr.io/nvidia/tritonserver"
PLAIN = "py3"
"""The variant that the release matrix describes; the names of all others have it in them."""

OWN = "triton-pipeline-cpu"
"""The pipeline's own image, for machines without a GPU; its Triton is of this release:"""
OWN_RELEASE = "24.10"

_LIMIT = 512
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REGISTRY = r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:[0-9]))(?::[0-9]{1,5})?"
_REFERENCE = re.compile(
    rf"(?:(?P<registry>{_REGISTRY})/)?(?P<path>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_RELEASE = re.compile(r"(?P<release>[0-9]{2}\.(?:0[1-9]|1[0-2]))(?:-(?P<variant>[a-z0-9]+(?:-[a-z0-9]+)*))?", re.ASCII)
_LOOSE = re.compile(r"v?(?P<year>[0-9]{2})[._-]?(?P<month>[0-9]{1,2})(?P<rest>[-_.].*)?", re.ASCII)
_NEAR = 0.85
_NEAR_REGISTRY = 0.8


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """An image as people name it. `registry` is empty where none is written, `tag` and `digest` None."""

    registry: str = ""
    path: str
    tag: str | None = None
    digest: str | None = None

    @property
    def repository(self) -> str:
        """The name without tag and digest."""
        return f"{self.registry}/{self.path}" if self.registry else self.path

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return f"{self.repository}{tag}" + ("" if self.digest is None else f"@{self.digest}")


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """What a tag of NVIDIA's says: the release (`23.08`) and the variant (`py3`, `py3-sdk`, `vllm-python-py3`)."""

    release: str
    variant: str


def parse(text: str) -> Reference:
    """The reference that a text is. Raises InvalidSpec where it is none."""
    found = _REFERENCE.fullmatch(text) if len(text) <= _LIMIT else None
    if found is None:
        msg = f"{text[:80]!a} is not the name of an image"
        raise errors.InvalidSpec(msg, hint=f"Write it as {TRITON}:yy.mm-py3, in small letters.")
    registry, path, tag, digest = found.group("registry", "path", "tag", "digest")
    return Reference(registry=registry or "", path=path, tag=tag, digest=digest)


def tagged(tag: str) -> Tag | None:
    """What a tag says, or None where it is not of NVIDIA's form."""
    found = _RELEASE.fullmatch(tag)
    return Tag(release=found["release"], variant=found["variant"] or "") if found else None


def near(reference: Reference) -> str | None:
    """NVIDIA's image, where a reference looks like it with a slip or without its beginning.

    A mirror that keeps NVIDIA's path is none: only a registry that looks like NVIDIA's own counts as a slip. And
    `tritonserver` alone is what Triton's own build calls its image, unless its tag is of NVIDIA's form.
    """
    name, (registry, _, path) = reference.repository.casefold(), TRITON.partition("/")
    if name == TRITON:
        return None
    if reference.registry and reference.path == path:
        slip = _ratio(reference.registry.casefold(), registry) >= _NEAR_REGISTRY
    elif name == path.rpartition("/")[2]:
        slip = tagged(reference.tag or "") is not None
    else:
        slip = max(_ratio(name, TRITON), _ratio(name, path)) > _NEAR
    return str(msgspec.structs.replace(reference, registry=registry, path=path)) if slip else None


def _ratio(first: str, second: str) -> float:
    return difflib.SequenceMatcher(None, first, second).ratio()


def release(text: str) -> str | None:
    """The Triton release of an image, as far as its name tells: NVIDIA's plain ones, from wherever, and our own."""
    reference = parse(text)
    if reference.repository == OWN:
        return OWN_RELEASE
    if reference.path.rpartition("/")[2] != TRITON.rpartition("/")[2]:
        return None
    tag = tagged(reference.tag or "")
    return tag.release if tag and tag.variant == PLAIN else None


def near_tag(tag: str, releases: Iterable[str]) -> str | None:
    """The plain tag that was meant by one that is not of NVIDIA's form, where that can be seen."""
    known = list(releases)
    if found := _LOOSE.fullmatch(tag):
        meant = f"{found['year']}.{int(found['month']):02d}"
        return f"{meant}-{PLAIN}" if meant in known else None
    close = difflib.get_close_matches(tag, [f"{release}-{PLAIN}" for release in known], n=1, cutoff=_NEAR)
    return close[0] if close else None
