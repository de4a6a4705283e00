"""The JSON Schema that editors use: committed as it is made, whole, and of one mind with the parser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.core import catalog, config_schema, parse, schema, yamltext
from pipeline.edges import facts

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "tests/specs"
MADE = config_schema.document_schema(catalog.parse(facts.model_config()))
OURS = schema.document_schema()
PARTS = {"": OURS, **OURS["$defs"]}
STRUCTURAL = frozenset(
    {"unknown-key", "missing-key", "wrong-type", "wrong-value", "exactly-one", "bad-name", "config-field"}
)


def test_committed() -> None:
    """`schemas/pipeline.schema.json` is what the types say."""
    assert (ROOT / "schemas/pipeline.schema.json").read_text(encoding="utf-8") == schema.dump(MADE)


def test_reference_committed() -> None:
    """`docs/spec.md` is what the schema says."""
    assert (ROOT / "docs/spec.md").read_text(encoding="utf-8") == schema.spec_reference(MADE)


def test_metaschema() -> None:
    """The schema is one of draft 2020-12."""
    jsonschema.Draft202012Validator.check_schema(MADE)
    assert MADE["$schema"] == schema.DIALECT


@pytest.mark.parametrize("name", PARTS)
def test_every_key_is_explained(name: str) -> None:
    """Every key has a description, and an example or a default that is itself valid, Triton's fields in it too."""
    for key, value in (MADE["$defs"][name] if name else MADE)["properties"].items():
        assert len(value["description"]) > 5, key
        examples: list[Any] = value.get("examples", []) + ([value["default"]] if "default" in value else [])
        assert examples, key
        part = {**value, "$defs": MADE["$defs"]}
        for example in examples:
            jsonschema.Draft202012Validator(part).validate(example)


@pytest.mark.parametrize("path", [*SPECS.glob("good/*.yaml"), ROOT / "pipeline.yaml"], ids=lambda path: path.stem)
def test_good_passes(path: Path) -> None:
    """What the parser accepts the schema accepts."""
    parse.parse_spec(path.read_bytes(), file=path.name)
    data = yamltext.load(path.read_bytes(), file=path.name).data
    jsonschema.validate(data, MADE, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("path", sorted(SPECS.glob("bad/*.yaml")), ids=lambda path: path.stem)
def test_structural_faults_fail(path: Path) -> None:
    """An editor shows the faults of shape; only what values mean together is left to `validate`."""
    text = path.with_suffix(".expected.txt").read_text(encoding="utf-8")
    inside = ("versions.", "CON", "nul", "dot.")
    rules = {line.split()[1] for line in text.splitlines() if not any(word in line.split()[2] for word in inside)}
    built = yamltext.load(path.read_bytes(), file=path.name)
    if not built.complete or built.poisoned or not rules & STRUCTURAL or path.stem in FLOATS:
        return
    assert not jsonschema.Draft202012Validator(MADE).is_valid(json.loads(json.dumps(built.data)))


FLOATS = frozenset({"version-float"})
"""JSON Schema takes 1.0 for an integer; the parser does not."""
