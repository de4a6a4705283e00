"""What a CI has to build, from a plan: one job a model, and none where nothing is missing."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from pipeline.core import diff, plan

_BUILT = frozenset({diff.Kind.BUILD, diff.Kind.COPY})


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job of the matrix: what `export --model` is told. `heavy` is one that needs torch."""

    model: str
    heavy: bool


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """`ci matrix --json`: the jobs as `strategy.matrix` takes them, and whether there are any: GitHub refuses a matrix
    that has none."""

    include: Annotated[tuple[Job, ...], Meta(description="A job for each model that has something to build.")]


def matrix(made: plan.Document) -> Matrix:
    """The models that have something to build or to copy, each once, by name."""
    found: dict[str, bool] = {}
    for change in made.changes:
        if change.kind in _BUILT:
            name = change.subject.partition("/")[0]
            found[name] = found.get(name, False) or change.kind is diff.Kind.BUILD
    return Matrix(include=tuple(Job(model=name, heavy=heavy) for name, heavy in sorted(found.items())))
