"""A plan: changes in the order in which they are made, what they need, and the plan's own digest."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pipeline.core import build, diff

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
    """Builds first, then the lock, the repository, loads and the server."""
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


def needs(plan: Plan, command: str) -> tuple[str, ...]:
    """The environment groups that a command will use: `torch` where it must build, or start an embedded server."""
    kinds = {
        "lock": {diff.Kind.BUILD},
        "export": {diff.Kind.BUILD},
        "serve": {diff.Kind.SERVER},
        "apply": {diff.Kind.BUILD, diff.Kind.SERVER},
    }.get(command, set())
    heavy = (c for c in plan.changes if c.kind in kinds and c.act is not diff.Act.REMOVE)
    return ("torch",) if any(heavy) else ()
