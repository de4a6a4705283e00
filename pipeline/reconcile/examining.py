"""Fields that are to no purpose, and those that came after a release: a part of what `validate` looks at."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pipeline.core import catalog, findings, image, spec, tree, yamltext
from pipeline.core.rules import advice, newer
from pipeline.edges import facts, files
from pipeline.reconcile.site import Site

_LIMIT = (1 << 20) + 1
EMBEDDED = "24.10"
"""The release of the server that the pinned nvidia-pytriton brings."""


def examine(site: Site, name: str) -> tuple[findings.Finding, ...]:
    """What is to be said of the chosen models' fields, in the order of the file; `name` is what they call it."""
    built = yamltext.load(files.read(site.project.spec, _LIMIT) or b"", file=name)
    faults = [*advice.told(site.declared), *_newer(site.declared)]
    found = [built.finding(fault) for fault in faults if fault.path[1] in site.chosen]
    start = findings.Where(file=name, line=1, column=1)
    return tuple(sorted(found, key=lambda each: (each.where or start, each.rule, each.message)))


def _newer(declared: spec.Spec) -> Iterator[tree.Fault]:
    """Fields that are too new for the image, or for the embedded server where that may serve."""
    known = catalog.parse(facts.model_config())
    target = declared.target
    reference = image.parse(target.image)
    tag = image.tagged(reference.tag or "") if reference.repository == image.TRITON else None
    told: set[tree.Path] = set()
    if tag is not None and target.runtime != "embedded":
        for fault in newer.told(declared, known, tag.release, what=f"the image {tag.release}"):
            told.add(fault.path)
            yield fault
    severity = findings.Severity.ERROR if target.runtime == "embedded" else findings.Severity.WARNING
    if target.runtime != "docker":
        for fault in newer.told(declared, known, EMBEDDED, what=f"the embedded server, of {EMBEDDED},"):
            if fault.path not in told:
                yield msgspec.structs.replace(fault, severity=severity)
