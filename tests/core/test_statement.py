"""The statement: what in-toto and SLSA have fields for, each file with its digest, and every input."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format

from pipeline.core import origins, statement
from tests import attested, official


def test_it_is_valid() -> None:
    """It is a message of in-toto's own types, with SLSA's provenance v1 as its predicate."""
    text = origins.dump(statement.statement(attested.known()))
    made, predicate = official.read_statement(text)
    assert made.predicate_type == "https://slsa.dev/provenance/v1"
    assert predicate.run_details.builder.id == origins.LOCAL
    assert text == origins.dump(statement.statement(attested.known()))


def test_a_fault_is_found() -> None:
    """The types are real ones: a field that they do not have is refused."""
    made = statement.statement(attested.known())
    made["predicate"]["runDetails"]["surprise"] = 1
    with pytest.raises(json_format.ParseError, match="surprise"):
        official.read_statement(json.dumps(made).encode())


def test_every_file_is_a_subject() -> None:
    """Artifacts and configs are named by their paths in the repository, and as lines for sha256sum."""
    known = attested.known()
    names = [each["name"] for each in statement.subjects(known)]
    assert names == sorted(f"{name}/{path}" for name in attested.SOURCES for path in ("1/model.pt", "config.pbtxt"))
    assert f"{attested.A}  hubbed/1/model.pt\n" in statement.checksums(known)


def test_inputs_are_named_once() -> None:
    """Sources by commit or digest, packages by their pins, and the image; nothing twice."""
    found = statement.statement(attested.known())["predicate"]["buildDefinition"]["resolvedDependencies"]
    by_name = {each["name"]: each for each in found}
    assert len(by_name) == len(found)
    assert by_name["team/Model_1"]["digest"] == {"gitCommit": attested.COMMIT}
    assert by_name["team/Model_1/model.safetensors"]["digest"] == {"sha256": attested.B}
    assert by_name["Some_Weights==1.0+cpu"]["uri"] == "pkg:pypi/some-weights@1.0%2Bcpu"
    assert by_name["taken.pt"]["digest"] == {"sha256": attested.C}
    assert "torch==2.13.0" in by_name


def test_what_was_asked_for() -> None:
    """Each version's source, method and precision are the external parameters."""
    asked = statement.statement(attested.known())["predicate"]["buildDefinition"]["externalParameters"]["versions"]
    assert (asked["hubbed/1"]["method"], asked["hubbed/1"]["precision"]) == ("onnx", "fp16")
    assert asked["seeded/1"]["source"] == {"kind": "config", "architecture": "BertModel", "options": {}, "seed": 3}
