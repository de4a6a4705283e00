"""Validate: what the spec asks of its image, against the matrix and the artifacts that are built. No machine is asked:
the same spec, lock and artifacts get the same verdict everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pipeline import edges
from pipeline.core import compat, container, findings, formats, matrix, spec, tree, yamltext
from pipeline.edges import files

_LIMIT = (1 << 20) + 1
_IMAGE: tree.Path = ("target", "image")
_PLACES: dict[str, tree.Path] = {"open-ports": ("target", "container", "address")}
"""Where a finding belongs that is about neither the image nor a model, by its rule."""


def judge(
    project: edges.Project,
    name: str,
    target: spec.Target,
    *,
    rows: Sequence[matrix.Row],
    artifacts: Iterable[formats.Artifact],
) -> tuple[findings.Finding, ...]:
    """What is wrong with the target or may be, each with its line in the spec, which messages call `name`."""
    wanted = compat.Wanted(artifacts=tuple(artifacts), policy=target.policies.image)
    found = (*compat.judge(target.image, rows, wanted), *container.warnings(target))
    written = yamltext.load(files.read(project.spec, _LIMIT) or b"", file=name)
    return tuple(msgspec.structs.replace(each, where=_where(each, written)) for each in found)


def _where(finding: findings.Finding, written: tree.Tree) -> findings.Where:
    if finding.model is None:
        return written.where(_PLACES.get(finding.rule, _IMAGE))
    path: tree.Path = ("models", finding.model, "versions", str(finding.version))
    return written.where(path if finding.version else path[:2], on_key=True)
