"""The bill of materials of what is served, as CycloneDX 1.6 has it: models, where they come from, and packages.

The fields are those of the specification's JSON schema (bom-1.6). Nothing in it depends on when or where it is made:
the serial number follows from the rest.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

from pipeline.core import build, origins, spec

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_NAMES = uuid.UUID("6f0a3c1e-52f5-5c0b-9d0e-3f6a1c2b7d10")
"""The namespace of our serial numbers (RFC 9562, version 5)."""
_NUMBER = re.compile(r"[-+]?\d[\d.]*(?:e[-+]?\d+)?")
_SPDX = {
    each.lower(): each
    for each in (
        *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0", "Unlicense", "Zlib", "0BSD"),
        *("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0"),
        *("AFL-3.0", "Artistic-2.0", "BSL-1.0", "ECL-2.0", "EPL-2.0", "OFL-1.1", "PostgreSQL", "WTFPL"),
    )
}
"""SPDX's identifiers that models' cards write in small letters; any other licence is given by its own name."""

Data = dict[str, Any]


def bom(known: origins.Origins) -> Data:
    """The bill of materials, without a serial number's randomness or a timestamp."""
    models = [_model(each) for each in origins.artifacts(known)]
    packages = [_package(name, version, groups) for (name, version), groups in origins.packages(known).items()]
    components = [*models, *packages, _image(known)]
    root = {
        "type": "application",
        "bom-ref": "model_repository",
        "name": "model_repository",
        "version": known.locked.digest,
    }
    made: Data = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": root,
            "tools": {
                "components": [{"type": "application", "name": "triton-pipeline", "version": known.version}],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": root["bom-ref"], "dependsOn": sorted(each["bom-ref"] for each in components)},
            *({"ref": each["bom-ref"], "dependsOn": []} for each in components),
        ],
    }
    return {**made, "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMES, build.digest(made))}"}


def _model(each: origins.Artifact) -> Data:
    source = each.locked.source
    made: Data = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{each.name}",
        "name": each.model.name,
        "version": str(each.number),
        "modelCard": _card(each),
        "properties": [_property(name, value) for name, value in _said(each)],
    }
    if len(each.files) == 1:
        made["hashes"] = [_sha256(file.sha256) for file in each.files.values()]
    if each.files:
        made["components"] = [
            {"type": "file", "name": f"{each.name}/{path}", "hashes": [_sha256(file.sha256)]}
            for path, file in each.files.items()
        ]
    if each.licence:
        made["licenses"] = [licence(each.licence)]
    if source.kind in {"hub", "wheel"}:
        made["pedigree"] = {"ancestors": [_ancestor(each)]}
    return made


def licence(text: str) -> Data:
    """A licence by its SPDX identifier where it is known to be one, else by its own name."""
    found = _SPDX.get(text.lower())
    return {"license": {"id": found} if found else {"name": text}}


def _ancestor(each: origins.Artifact) -> Data:
    """The source as others know it, at the revision that was taken."""
    source = each.locked.source
    made: Data = {
        "type": "machine-learning-model",
        "name": source.identity["repo" if source.kind == "hub" else "name"],
        "version": origins.revision(source),
        "purl": origins.source_url(source),
    }
    if source.kind == "wheel":
        made["hashes"] = [_sha256(source.identity["sha256"])]
    if each.licence:
        made["licenses"] = [licence(each.licence)]
    return made


def _card(each: origins.Artifact) -> Data:
    """What goes in and out, and how near the artifact is to the model that it was made of."""
    parameters: Data = {
        "inputs": [{"format": _tensor(name, tensor)} for name, tensor in each.model.inputs.items()],
        "outputs": [{"format": _tensor(name, tensor)} for name, tensor in each.model.outputs.items()],
    }
    architecture = each.locked.source.identity.get("architecture")
    if architecture:
        parameters["modelArchitecture"] = architecture
    made: Data = {"modelParameters": parameters}
    metrics = [metric for line in each.checks for metric in metrics_of(line)]
    if metrics:
        made["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return made


def metrics_of(line: str) -> Iterator[Data]:
    """The metrics of a check's line: `batch 32: max abs error 2.4e-07` is one, of the slice `batch 32`."""
    place, _, rest = line.partition(": ")
    for part in rest.split(", "):
        kind, _, value = part.rpartition(" ")
        if kind and _NUMBER.fullmatch(value):
            yield {"type": kind, "value": value, "slice": place}


def _tensor(name: str, tensor: spec.Input | spec.Output) -> str:
    return f"{name}: {tensor.dtype} [{', '.join(map(str, tensor.shape))}]"


def _said(each: origins.Artifact) -> Iterator[tuple[str, str]]:
    """What CycloneDX has no field for."""
    source = each.locked.source
    yield "build-key", each.locked.key
    if each.locked.golden:
        yield "golden-sha256", each.locked.golden
    if each.export:
        yield "export", each.export.method
        yield "quantisation", each.export.precision
        for name, output in spec.judged(each.model.outputs, each.export).items():
            tolerance = output.tolerance or each.model.golden.tolerance
            yield f"tolerance:{name}", f"rtol {tolerance.rtol:g}, atol {tolerance.atol:g}"
    yield "reproducible", str(each.locked.reproducible).lower()
    yield "source-kind", source.kind
    yield "source-revision", origins.revision(source)


def _package(name: str, version: str, groups: tuple[str, ...]) -> Data:
    url = origins.package_url(name, version)
    return {
        "type": "library",
        "bom-ref": url,
        "name": name,
        "version": version,
        "purl": url,
        "properties": [_property("environment", group) for group in groups],
    }


def _image(known: origins.Origins) -> Data:
    """The server's image; by its digest where the lock has pinned that."""
    image = known.locked.image
    url = origins.image_url(image)
    made: Data = {"type": "container", "bom-ref": url, "name": image.reference, "purl": url}
    if image.digest:
        made |= {"version": image.digest, "hashes": [_sha256(image.digest.removeprefix("sha256:"))]}
    return made


def _sha256(digest: str) -> Data:
    return {"alg": "SHA-256", "content": digest}


def _property(name: str, value: str) -> Data:
    return {"name": f"triton-pipeline:{name}", "value": value}
