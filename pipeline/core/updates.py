"""What of a spec can be newer: its image, its wheels, its commits of hub repositories, each with the values to write.

Which newer ones there are is asked elsewhere; which of them fit, `compat` and the sources themselves say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pipeline.core import compat, findings, image, lock, matrix, plan, spec, tree

BRANCH = "main"
"""The branch of a hub repository that is followed where no comment names another."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """Something newer that fits."""

    kind: Literal["image", "wheel", "hub"]
    path: Annotated[str, Meta(description="Where it stands in the spec.")]
    name: Annotated[str, Meta(description="The image, the package or the repository.")]
    before: str
    after: str
    values: Annotated[dict[str, str], Meta(description="The new values, by their paths in the spec.")]
    note: Annotated[str, Meta(description="What there is to say about it.")] = ""


class Updates(msgspec.Struct, frozen=True, kw_only=True):
    """`update --json`: what is newer and fits, and, unless it was only told, the plan that follows from it."""

    format: Annotated[Literal[1], Meta(description="The version of this format.")] = 1
    written: Annotated[bool, Meta(description="Whether the spec was edited.")] = False
    updates: tuple[Update, ...]
    findings: Annotated[tuple[findings.Finding, ...], Meta(description="What was left as it is, and why.")]
    plan: Annotated[plan.Document | None, Meta(description="What the edited spec would change.")] = None


class Wheel(msgspec.Struct, frozen=True, kw_only=True):
    """A wheel in the spec; `path` leads to the mapping that has its version and its digest."""

    path: tree.Path
    source: spec.WheelSource


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """A commit of a hub repository in the spec, and the branch whose newest one is wanted."""

    path: tree.Path
    source: spec.HubSource
    branch: str = BRANCH


def wheels(data: Any, models: frozenset[str]) -> Iterator[Wheel]:  # noqa: ANN401 - what YAML has
    """The wheels of some models, where version and digest are written, in an override of a version too."""
    for path, written, whole in _sources(data, "wheel", models):
        if {"version", "sha256"} <= written.keys():
            yield Wheel(path=path, source=msgspec.convert(whole, spec.WheelSource))


def branches(declared: spec.Spec, locked: lock.Lock | None, models: frozenset[str]) -> Iterator[tuple[Commit, str]]:
    """The hub sources that name a branch or a tag, each with the commit that the lock pins for it: there is nothing to
    edit, and what has moved can be told."""
    for name, model in declared.models.items():
        for number, version in model.versions.items():
            hub, pinned = version.source.hub, lock.version(locked, name, number)
            if name in models and hub is not None and pinned is not None and not _COMMIT.fullmatch(hub.revision):
                path: tree.Path = ("models", name, "versions", number, "source", "hub")
                yield Commit(path=path, source=hub, branch=hub.revision), str(pinned.source.identity.get("commit"))


def moved(old: Commit, pinned: str, commit: str) -> findings.Finding | None:
    """That a branch is not where the lock pins it any more."""
    if commit == pinned:
        return None
    return findings.Finding(
        rule="branch-moved",
        message=f"{old.branch} of {old.source.repo} is at {commit}, and the lock pins {pinned}",
        hint=f"To follow it, write the commit with the branch behind it: `revision: {commit} # {old.branch}`.",
        severity=findings.Severity.WARNING,
        model=str(old.path[1]),
        version=int(old.path[3]),
    )


def commits(data: Any, models: frozenset[str], comments: dict[tree.Path, str]) -> Iterator[Commit]:  # noqa: ANN401
    """The full commits of hub repositories. A comment behind one names the branch that it follows."""
    for path, written, whole in _sources(data, "hub", models):
        if _COMMIT.fullmatch(str(written.get("revision", ""))):
            said = comments.get((*path, "revision"), "")
            branch = said if _BRANCH.fullmatch(said) else BRANCH
            yield Commit(path=path, source=msgspec.convert(whole, spec.HubSource), branch=branch)


def _sources(
    data: Any,  # noqa: ANN401
    kind: str,
    models: frozenset[str],
) -> Iterator[tuple[tree.Path, dict[str, Any], dict[str, Any]]]:
    """Every mapping of a kind of source: where it stands, what is written there, and that over the model's own."""
    for name, model in data.get("models", {}).items():
        if name not in models:
            continue
        base = _inner(model.get("source"), kind)
        if base:
            yield ("models", name, "source", kind), base, base
        for number, version in (model.get("versions") or {}).items():
            own = _inner((version or {}).get("source"), kind)
            if own:
                yield ("models", name, "versions", number, "source", kind), own, {**base, **own}


def _inner(source: Any, kind: str) -> dict[str, Any]:  # noqa: ANN401
    """A kind of source as a mapping; an ensemble's is a word."""
    found = source.get(kind) if isinstance(source, dict) else None
    return found if isinstance(found, dict) else {}


def of_wheel(old: Wheel, version: str, sha256: str) -> Update | None:
    """The newer wheel; None where it is the same."""
    if version == old.source.version:
        return None
    values = {tree.dotted((*old.path, "version")): version, tree.dotted((*old.path, "sha256")): sha256}
    return Update(
        kind="wheel",
        path=tree.dotted(old.path),
        name=old.source.name,
        before=old.source.version,
        after=version,
        values=values,
    )


def fields(found: Update) -> dict[str, str]:
    """The new values of a source's own fields, by their names."""
    return {path.rpartition(".")[2]: value for path, value in found.values.items()}


def of_commit(old: Commit, commit: str) -> Update | None:
    """The newer commit; None where it is the same."""
    if commit == old.source.revision:
        return None
    return Update(
        kind="hub",
        path=tree.dotted(old.path),
        name=old.source.repo,
        before=old.source.revision,
        after=commit,
        values={tree.dotted((*old.path, "revision")): commit},
        note=f"the newest of {old.branch}",
    )


def of_image(
    text: str, rows: tuple[matrix.Row, ...], wanted: compat.Wanted, *, gpus: bool
) -> Update | findings.Finding | None:
    """The newest release of the image that is known to do what is wanted; None where the spec's is that, or where the
    image is none that the matrix knows. One that is pinned by a digest is told of, since nobody here knows the new one.
    """
    reference = image.parse(text)
    now = image.release(text)
    if now is None or reference.repository == image.OWN or reference.tag is None:
        return None
    advice = compat.recommend(rows, wanted)
    if advice.tag is None or matrix.numbers(advice.tag) <= matrix.numbers(now):
        return None
    newer = msgspec.structs.replace(reference, tag=f"{advice.tag}-{image.PLAIN}")
    if reference.digest is not None:
        message = f"{advice.tag} would fit, and target.image is pinned by the digest of {now}"
        hint = "Set the new tag with its digest, or the tag alone: the lock pins which image it is."
        return findings.Finding(rule="image-digest", message=message, hint=hint, severity=findings.Severity.WARNING)
    notes = [each.message for each in advice.notes if each.rule in compat.UNBUILT]
    if gpus and wanted.driver is None:
        notes.append("no driver was judged: --driver and --gpu name those of the machine that serves")
    return Update(
        kind="image",
        path="target.image",
        name=reference.repository,
        before=now,
        after=advice.tag,
        values={"target.image": str(newer)},
        note="; ".join(notes),
    )


def values(found: tuple[Update, ...], known: dict[str, tree.Path]) -> dict[tree.Path, str]:
    """What to write where; `known` are the document's paths by the way that they are written."""
    return {known[path]: value for each in found for path, value in each.values.items()}
