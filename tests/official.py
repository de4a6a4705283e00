"""The official forms of what is attested: CycloneDX's own JSON schema, and the messages of in-toto and SLSA."""

from __future__ import annotations

import json
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement, statement_pb2


def fault_of_bom(text: bytes) -> str:
    """What the schema of CycloneDX 1.6 finds wrong; empty where nothing is."""
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode())
    return "" if found is None else str(found)


def read_statement(text: bytes) -> tuple[Any, Any]:
    """The statement and its predicate as messages: a field that they do not have is an error, and so is an invalid
    subject. The required fields of SLSA's provenance v1 are asked for by name: protobuf itself requires none."""
    data = json.loads(text)
    made = json_format.ParseDict(data, statement_pb2.Statement())
    statement.Statement.copy_from_pb(made).validate()
    predicate = json_format.ParseDict(data["predicate"], provenance_pb2.Provenance())
    assert predicate.build_definition.build_type
    assert predicate.build_definition.external_parameters.fields
    assert predicate.run_details.builder.id
    return made, predicate
