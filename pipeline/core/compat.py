"""Whether an image can do what is asked of it: its name, its security, the machine, the artifacts; and which one can.

Every verdict is a finding with a stable rule and its source. One whose rule ends with `-unknown` says that nobody
knows: never that it is fine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from pipeline.core import findings, fitness, formats, image, machine, matrix

CATALOG = "https://catalog.ngc.nvidia.com/orgs/nvidia/containers/tritonserver/tags"
BULLETIN = "NVIDIA's security bulletin of 2026-08-18 (CVE-2026-47627): https://www.nvidia.com/en-us/security/"
SECURITY_FLOOR = "26.06"

UNBUILT = {"torchscript-unknown", "onnx-ir-unknown", "onnx-opset-unknown"}
"""The rules of what is known as soon as an artifact is built."""

Policy = Literal["warn", "strict"]


def find(text: str, rows: Iterable[matrix.Row]) -> matrix.Row | None:
    """The row of the image that a text names: of NVIDIA's plain releases alone. Raises InvalidSpec for no image."""
    reference = image.parse(text)
    tag = image.tagged(reference.tag or "") if reference.repository == image.TRITON else None
    return matrix.find(rows, tag.release) if tag and tag.variant == image.PLAIN else None


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a release cannot be recommended."""

    tag: str
    findings: tuple[findings.Finding, ...]


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """The newest release that can run, None where none is known to; with what there is to say about it, and why each
    newer one cannot, newest first."""

    tag: str | None
    notes: tuple[findings.Finding, ...] = ()
    newer: tuple[Reason, ...] = ()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What an image is wanted for. Without `driver` (no GPU is asked for, or nothing is known of the machine) only the
    image and the artifacts are judged."""

    driver: machine.Driver | None = None
    artifacts: tuple[formats.Artifact, ...] = ()
    policy: Policy = "warn"


def judge(
    text: str, rows: Sequence[matrix.Row], wanted: Wanted, *, probed: matrix.Row | None = None
) -> tuple[findings.Finding, ...]:
    """What is wrong with the image `text`, errors first.

    `probed` is the row with what the image itself has told; it beats the table. Raises InvalidSpec where the text
    names no image.
    """
    reference = image.parse(text)
    found = [each if probed is None else _told(each, reference) for each in _named(reference, rows)]
    tag = image.tagged(reference.tag or "") if reference.repository == image.TRITON else None
    row = probed or (matrix.find(rows, tag.release) if tag and tag.variant == image.PLAIN else None)
    if row is not None:
        found += _row(row, wanted)
    if tag is not None:
        found += _security(tag.release, wanted.policy)
    return tuple(sorted(found, key=lambda each: each.severity is not findings.Severity.ERROR))


def recommend(rows: Sequence[matrix.Row], wanted: Wanted) -> Recommendation:
    """The newest release that is known to run what is wanted, on its machine. Where that cannot be said of any only
    because artifacts are not built yet, the newest of which nothing else is to be said; its notes have what is open."""
    known = _newest(rows, wanted, stops)
    return known if known.tag else _newest(rows, wanted, lambda each: stops(each) and each.rule not in UNBUILT)


def _newest(rows: Iterable[matrix.Row], wanted: Wanted, stopping: Callable[[findings.Finding], bool]) -> Recommendation:
    newer: list[Reason] = []
    for row in sorted(rows, key=lambda row: matrix.numbers(row.tag), reverse=True):
        found = (*_row(row, wanted), *_security(row.tag, wanted.policy))
        against = tuple(each for each in found if stopping(each))
        if not against:
            return Recommendation(tag=row.tag, notes=found, newer=tuple(newer))
        newer.append(Reason(tag=row.tag, findings=against))
    return Recommendation(tag=None, newer=tuple(newer))


def stops(finding: findings.Finding) -> bool:
    """Whether a finding keeps a release from being recommended: it cannot run, or nobody knows."""
    return finding.severity is findings.Severity.ERROR or finding.rule.endswith("-unknown")


def _row(row: matrix.Row, wanted: Wanted) -> Iterator[findings.Finding]:
    if wanted.driver is not None:
        yield from fitness.judge(row, wanted.driver)
    yield from findings.merged(each for artifact in wanted.artifacts for each in formats.judge(row, artifact))


def _security(release: str, policy: Policy) -> Iterator[findings.Finding]:
    if matrix.numbers(release) < matrix.numbers(SECURITY_FLOOR):
        yield findings.Finding(
            rule="security-floor",
            severity=findings.Severity.ERROR if policy == "strict" else findings.Severity.WARNING,
            message=f"the release {release} has known security holes, up to 9.8 of 10: {SECURITY_FLOOR} is the first "
            "without them",
            hint=f"Take {SECURITY_FLOOR} or later where the driver allows it; else let nobody reach it whom you do not "
            "trust.",
            source=BULLETIN,
        )


def _named(reference: image.Reference, rows: Sequence[matrix.Row]) -> Iterator[findings.Finding]:
    """What the name says: is it NVIDIA's image, a release that is known, a variant that the rows hold for?"""
    if reference.repository != image.TRITON:
        yield _foreign(reference)
        return
    if reference.tag is None:
        message = f"{reference} names no release, so nothing is known of it"
        hint = "Write the tag before the digest, as yy.mm-py3@sha256:..."
        yield _warning("image-tag-unknown", message, hint)
        return
    tag = image.tagged(reference.tag)
    row = matrix.find(rows, tag.release) if tag else None
    if tag is None or image.PLAIN not in tag.variant or row is None:
        yield _tag(reference, tag, rows)
    elif tag.variant != image.PLAIN:
        message = f"`-{tag.variant}` images stand on other bases than `-{image.PLAIN}`: nothing is known of {reference}"
        hint = f"Take {tag.release}-{image.PLAIN} to serve models of all formats."
        yield _warning("image-variant-unknown", message, hint)


def _told(finding: findings.Finding, reference: image.Reference) -> findings.Finding:
    """What the name says of an image that has told of itself: it is not unknown any more."""
    if not finding.rule.endswith("-unknown"):
        return finding
    message = f"nothing is known of {reference} but what it tells of itself: not whether it has security holes"
    return msgspec.structs.replace(finding, message=message, hint="", source="the image itself")


def _foreign(reference: image.Reference) -> findings.Finding:
    if meant := image.near(reference):
        message = f"the image `{reference.repository}` is not NVIDIA's"
        hint = f"Did you mean `{meant}`?"
        return findings.Finding(rule="image-name", message=message, hint=hint, source=CATALOG)
    message = f"{reference} is not NVIDIA's Triton image: nothing is known of it"
    return _warning("image-unknown", message, "What it can do shows when it runs.")


def _tag(reference: image.Reference, tag: image.Tag | None, rows: Sequence[matrix.Row]) -> findings.Finding:
    """What is wrong with a tag that no row is found for."""
    releases = [row.tag for row in rows]
    meant = image.near_tag(reference.tag or "", releases)
    if meant and (tag is None or image.PLAIN not in tag.variant):
        message = f"NVIDIA's Triton image has no tag `{reference.tag}`"
        hint = f"Did you mean `{meant}`?"
        return findings.Finding(rule="image-tag", message=message, hint=hint, source=CATALOG)
    message = f"nothing is known of the tag `{reference.tag}`"
    hint = f"Known are the releases {releases[0]} to {releases[-1]}." if releases else ""
    return _warning("image-tag-unknown", message, hint)


def _warning(rule: str, message: str, hint: str) -> findings.Finding:
    return findings.Finding(rule=rule, severity=findings.Severity.WARNING, message=message, hint=hint, source=CATALOG)
