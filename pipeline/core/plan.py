"""A plan: changes in the order in which they are made, what they need, and the plan's own digest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pipeline.core import build, diff, errors, state

_ORDER = tuple(diff.Kind)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Ordered changes. `notes` are warnings for the reader, such as folders that the pipeline leaves alone."""

    changes: tuple[diff.Change, ...]
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Equal digests mean the same changes."""
        return "sha256:" + build.digest(self.changes)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many changes add, change and remove. A replacement counts as an addition and a removal."""

    add: int
    change: int
    remove: int


def order(changes: Iterable[diff.Change], *, notes: Iterable[str] = ()) -> Plan:
    """Builds and copies first, then the lock, the repository, loads and the server."""
    return Plan(changes=tuple(sorted(changes, key=lambda c: (_ORDER.index(c.kind), c.subject))), notes=tuple(notes))


def counts(plan: Plan) -> Counts:
    """The counts of the closing line."""
    acts = [change.act for change in plan.changes]
    replaced = acts.count(diff.Act.REPLACE)
    return Counts(
        add=acts.count(diff.Act.ADD) + replaced,
        change=acts.count(diff.Act.CHANGE),
        remove=acts.count(diff.Act.REMOVE) + replaced,
    )


def warnings(changes: Iterable[diff.Change], observed: state.State, *, gap: bool = False) -> tuple[str, ...]:
    """What clients will notice of the changes: those that name a version which will not be served any more fail; all
    of them do for a while where another server cannot start beside the one that runs, a `gap`."""
    live = observed.server.models if observed.server else {}
    found = []
    for change in changes:
        if change.kind is diff.Kind.SERVER and change.act is diff.Act.REPLACE and live:
            found.append(_GAP if gap else "The server is replaced: clients may have to connect again.")
        if change.kind is not diff.Kind.LOAD or change.subject not in live:
            continue
        if change.act is diff.Act.REMOVE:
            found.append(f"{change.subject} will not be served any more: its clients will fail.")
        for field in change.fields:
            if field.path == "versions":
                gone = [str(number) for number in field.old or () if number not in (field.new or ())]
                if gone:
                    names = ", ".join(gone)
                    found.append(f"Clients that ask {change.subject} for version {names} will fail: keep it served.")
    return tuple(found)


_GAP = (
    "The server is replaced, and the new one cannot share its ports: requests fail from the stop of the old one until "
    "the new one is ready. (Containers of one network share ports: target.container.network: host.)"
)


def check_removals(changes: Iterable[diff.Change], desired: state.State, *, allowed: bool) -> None:
    """Raises PipelineError where every model would go, which an empty spec asks for, unless that is meant."""
    gone = [
        change.subject for change in changes if change.kind is diff.Kind.REPOSITORY and change.act is diff.Act.REMOVE
    ]
    if gone and not desired.models and not allowed:
        msg = f"the spec has no models: that would remove every model of the repository ({', '.join(sorted(gone))})"
        raise errors.PipelineError(msg, hint="If that is meant, say --remove-all.")


FORMAT: Literal[1] = 1


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as `plan --json` prints and `plan --out` saves it."""

    format: Annotated[Literal[1], Meta(description="The version of this format.")] = FORMAT
    digest: Annotated[str, Meta(description="Equal digests mean the same changes.")]
    basis: Annotated[str, Meta(description="The digest of all that was compared: spec, lock, files and server.")]
    changes: Annotated[tuple[diff.Change, ...], Meta(description="Every change, in the order in which they are made.")]
    notes: Annotated[tuple[str, ...], Meta(description="Warnings for the reader.")]
    summary: Annotated[Counts, Meta(description="The counts of the closing line.")]


def document(plan: Plan, *, basis: str) -> Document:
    """The plan for a file or a program."""
    return Document(digest=plan.digest, basis=basis, changes=plan.changes, notes=plan.notes, summary=counts(plan))


def dump(made: Document) -> bytes:
    """The text of a saved plan."""
    return msgspec.json.format(build.canonical(made), indent=2) + b"\n"


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a saved plan: what it rests on, and what it does, both as digests."""

    format: int
    basis: str
    digest: str


def load(text: bytes, *, file: str) -> Saved:
    """Reads a saved plan. Raises PipelineError for what is none."""
    try:
        saved = msgspec.json.decode(text, type=Saved)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"{file} is no saved plan: {error}"
        raise errors.PipelineError(msg, hint="Make one with `plan --out FILE`.") from error
    if saved.format != FORMAT:
        msg = f"{file} has format {saved.format}, and this version reads format {FORMAT}"
        raise errors.PipelineError(msg, hint="Make a new one with `plan --out FILE`.")
    return saved


def needs(plan: Plan, command: str, *, runtime: str, formats: Iterable[str] = ()) -> tuple[str, ...]:
    """The environment groups that a command will use: `torch` where it must build, or start an embedded server, if
    only to prove a model in it, and then the groups that the spec's `formats` need beside it. A container has its own.
    """
    live = {diff.Kind.SERVER, diff.Kind.LOAD} if runtime == "embedded" else set[diff.Kind]()
    kinds = {
        "lock": {diff.Kind.BUILD},
        "export": {diff.Kind.BUILD},
        "serve": live,
        "apply": {diff.Kind.BUILD, *live},
        "rollback": live,
        "heal": live,
        "watch": live,
    }.get(command, set())
    heavy = (c for c in plan.changes if c.kind in kinds and c.act is not diff.Act.REMOVE)
    return ("torch", *formats) if any(heavy) else ()
