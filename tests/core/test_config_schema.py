"""Triton's ModelConfig in the schema that editors use: whole, in words, and of one mind with what judges a spec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import jsonschema
import pytest
from google.protobuf import wrappers_pb2
from hypothesis import strategies as st

from pipeline.core import catalog, config, config_schema, descriptors, errors, fields
from pipeline.edges import facts
from tests import any_config
from tests.core import test_fields

KNOWN = catalog.parse(facts.model_config())
FILE = config.protobuf().ModelConfig.DESCRIPTOR.file
CONFIG = FILE.message_types_by_name["ModelConfig"]
MADE = config_schema.definitions(CONFIG, KNOWN)
JUDGE = jsonschema.Draft202012Validator({"$ref": "#/$defs/ModelConfig", "$defs": MADE})


def messages(kinds: Any) -> Iterator[Any]:
    """Every message of the protobuf, entries of maps aside."""
    for kind in kinds:
        if not kind.GetOptions().map_entry:
            yield kind
            yield from messages(kind.nested_types)


ALL = list(messages(FILE.message_types_by_name.values()))
ENUMS = [*FILE.enum_types_by_name.values(), *(enum for kind in ALL for enum in kind.enum_types)]


def test_the_catalog_is_whole() -> None:
    """Every field and every value of an enum has its words and its source, and nothing else has."""
    paths = {descriptors.named(kind) for kind in ALL}
    paths |= {f"{descriptors.named(kind)}.{field.name}" for kind in ALL for field in kind.fields}
    paths |= {f"{descriptors.named(enum)}.{value.name}" for enum in ENUMS for value in enum.values}
    assert set(KNOWN) == paths
    assert [path for path, entry in KNOWN.items() if len(entry.description) < 4 or not entry.source] == []


@pytest.mark.parametrize("kind", ALL, ids=descriptors.named)
def test_every_field_is_in_the_schema(kind: Any) -> None:
    """Each message has its definition, with all its fields and no others, and says which of them exclude each other."""
    made = MADE[descriptors.named(kind)]
    assert list(made["properties"]) == [field.name for field in kind.fields]
    assert made["additionalProperties"] is False
    for group in kind.oneofs:
        names = [field.name for field in group.fields]
        pairs = [each["not"]["required"] for each in made.get("allOf", [])]
        assert all([first, second] in pairs for n, first in enumerate(names) for second in names[n + 1 :])


@hypothesis.given(any_config.messages(CONFIG))
@hypothesis.settings(max_examples=200, deadline=None)
def test_any_config_is_accepted(data: dict[str, Any]) -> None:
    """Whatever the protobuf holds, the schema and the judge of fields let pass, and it comes back out of the text."""
    assert [each.message for each in JUDGE.iter_errors(data)] == []
    assert fields.check(data) == []
    assert config.parse(config.dump(data)) == config.normalize(data)


@pytest.mark.parametrize(("data", "_paths"), test_fields.BAD, ids=str)
def test_what_is_refused_is_refused_in_an_editor_too(data: dict[str, Any], _paths: object) -> None:
    """An editor shows each fault of a field that a run would tell."""
    assert not JUDGE.is_valid(data)


@hypothesis.given(st.binary(max_size=20))
def test_bytes_are_base64(data: bytes) -> None:
    """A field of bytes, of which Triton has none yet, is base64 in YAML and in the schema."""
    import base64  # noqa: PLC0415

    kind = wrappers_pb2.BytesValue.DESCRIPTOR
    known = {path: catalog.Entry(first="", source="", description="x") for path in ("google.protobuf.BytesValue",)}
    known["google.protobuf.BytesValue.value"] = known["google.protobuf.BytesValue"]
    made = config_schema.definitions(kind, known)["google.protobuf.BytesValue"]["properties"]["value"]
    assert (made["type"], made["contentEncoding"]) == ("string", "base64")
    assert fields.check_as({"value": base64.b64encode(data).decode()}, kind) == []
    assert fields.check_as({"value": "!"}, kind) == [
        (("value",), "expected base64 text, found the text '!'", "write the bytes in base64")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "field,first\n",
        "field,first,source,description\na,24.10,s\n",
        "field,first,source,description\na,,s,d\na,,s,d\n",
        "field,first,source,description\na,soon,s,d\n",
        'field,first,source,description\n"a,,s,d\n',
        "",
    ],
)
def test_a_damaged_catalog_is_refused(text: str) -> None:
    """A table that is not the one that was shipped is told, and how to restore it."""
    with pytest.raises(errors.PipelineError) as caught:
        catalog.parse(text)
    assert "restore" in caught.value.hint
