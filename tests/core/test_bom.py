"""The bill of materials: valid under the official schema, the same bytes each time, and with all that is known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.core import bom, lock, origins
from tests import attested, official


def components(known: origins.Origins) -> dict[str, dict[str, Any]]:
    """The components by their references."""
    return {each["bom-ref"]: each for each in bom.bom(known)["components"]}


def test_it_is_valid() -> None:
    """CycloneDX's own strict schema of 1.6 finds nothing wrong."""
    assert official.fault_of_bom(origins.dump(bom.bom(attested.known()))) == ""


def test_a_fault_is_found() -> None:
    """The schema is a real one: a field that it does not have is refused."""
    made = bom.bom(attested.known()) | {"surprise": 1}
    assert "surprise" in official.fault_of_bom(origins.dump(made))


def test_bytes_are_stable() -> None:
    """Equal facts give equal bytes; the serial number changes with them."""
    first, again = (origins.dump(bom.bom(attested.known())) for _ in range(2))
    other = origins.dump(bom.bom(attested.known(version="0.2.0")))
    assert first == again
    assert json.loads(first)["serialNumber"] != json.loads(other)["serialNumber"]


def test_models_are_told_whole() -> None:
    """A model has its hash, licence, quantisation, source and revision, and the measures of its goldens."""
    hubbed = components(attested.known())["model:hubbed/1"]
    assert hubbed["type"] == "machine-learning-model"
    assert hubbed["hashes"] == [{"alg": "SHA-256", "content": attested.A}]
    assert hubbed["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert {"name": "triton-pipeline:quantisation", "value": "fp16"} in hubbed["properties"]
    assert {"name": "triton-pipeline:source-revision", "value": attested.COMMIT} in hubbed["properties"]
    ancestor = hubbed["pedigree"]["ancestors"][0]
    assert ancestor["purl"] == f"pkg:huggingface/team/Model_1@{attested.COMMIT}"
    assert hubbed["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "max abs error", "value": "2.4e-07", "slice": "batch 4"},
        {"type": "cosine", "value": "0.999998", "slice": "batch 4"},
        {"type": "max abs error", "value": "1.2e-03", "slice": "batch 4"},
    ]


def test_an_unknown_licence_keeps_its_name() -> None:
    """What is no identifier of SPDX is given as it was found, and what nobody says is left out."""
    found = components(attested.known())
    assert found["model:packed/1"]["licenses"] == [{"license": {"name": "Somebody's own"}}]
    assert "licenses" not in found["model:seeded/1"]


def test_packages_and_image_are_components() -> None:
    """Each pinned package is one component with the environments that have it; the image has its digest."""
    found = components(attested.known())
    assert [each["value"] for each in found["pkg:pypi/numpy@1.26.4"]["properties"]] == ["core", "torch"]
    image = next(each for each in found.values() if each["type"] == "container")
    assert image["version"] == f"sha256:{attested.C}"
    assert image["purl"].startswith("pkg:oci/tritonserver@sha256%3Acccc")


def test_an_image_that_is_not_pinned() -> None:
    """Without a digest the image is named, and nothing is made up."""
    known = attested.known()
    bare = lock.Lock(image=lock.Image(reference="localhost:5000/mine"), toolchain={}, models=known.locked.models)
    made = bom.bom(attested.known(locked=bare))
    assert official.fault_of_bom(origins.dump(made)) == ""
    assert "pkg:oci/mine?repository_url=localhost%3A5000/mine" in {each["bom-ref"] for each in made["components"]}


@pytest.mark.parametrize("line", ["", "no numbers here", "axis 3: fine", ": 1", "batch 2: error nan"])
def test_other_lines_are_no_metrics(line: str) -> None:
    """A line without a number says nothing that can be measured."""
    assert list(bom.metrics_of(line)) == []
