"""Ensembles as chains of models: their order, who depends on whom, and the builds that their goldens are made with."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipeline.core import build, chains, layout, parse, spec

TEXTS = Path(__file__).parents[1] / "specs/good/texts.yaml"
SPEC = parse.parse_spec(TEXTS.read_bytes(), file=TEXTS.name)
AT = [(name, number) for name, model in SPEC.models.items() for number in model.versions]


def made(declared: spec.Spec = SPEC, **weights: str) -> dict[layout.At, build.Build]:
    """The builds of a spec, with these weights in the folders of each model's versions."""
    resolved = {
        at: build.Resolved(kind="path", identity={}, files={"model.safetensors": weights.get(f"{at[0]}{at[1]}", "")})
        for at in AT
    }
    codes = dict.fromkeys([None, "onnx", "tokenizer", "labels"], 1)
    formats = ("onnx", "python", "torchscript")
    return layout.builds(declared, resolved, layout.Makers(codes=codes, toolchains={each: {} for each in formats}))  # type: ignore[misc]


def test_steps_come_after_what_they_read() -> None:
    """The order is that of the tensors, whatever the config's order is."""
    assert [step["model_name"] for step in chains.steps(SPEC.models["classify"])] == ["words", "bert", "names"]
    assert chains.steps(SPEC.models["bert"]) == ()


def test_who_depends_on_whom() -> None:
    """Ensembles are touched by what they run, through other ensembles too, and need all of it."""
    assert chains.touched(SPEC, ["words"]) == ("words", "classify", "twice")
    assert chains.touched(SPEC, ["twice"]) == ("twice",)
    assert chains.needed(SPEC, ["twice"]) == ("words", "bert", "names", "classify", "twice")
    assert chains.needed(SPEC, ["bert"]) == ("bert",)


def test_an_ensemble_is_built_of_its_steps() -> None:
    """The steps' builds are those of the very versions that Triton runs, a chain within a chain included."""
    builds = made()
    versions = [(step.build.model, step.build.version) for step in builds["classify", 1].steps]
    assert versions == [("words", 1), ("bert", 1), ("names", 1)]
    assert builds["twice", 1].steps[0].build == builds["classify", 1]
    assert builds["bert", 1].steps == ()


def test_key_follows_the_steps() -> None:
    """Other weights in a step are other goldens of the ensembles; a version that no step runs is none of theirs."""

    def keys(**weights: str) -> dict[layout.At, str]:
        return {at: build.key(each) for at, each in made(SPEC, **weights).items()}

    base, first, second = keys(), keys(bert1="a"), keys(bert2="a")
    assert {at for at in AT if base[at] != first[at]} == {("bert", 1), ("classify", 1), ("twice", 1)}
    assert {at for at in AT if base[at] != second[at]} == {("bert", 2)}


@pytest.mark.parametrize("why", [None, "nobody asks it"])
def test_who_is_not_asked_has_no_steps(why: str | None) -> None:
    """Without goldens nothing is made for an ensemble."""
    model = SPEC.models["classify"]
    golden = msgspec.structs.replace(model.golden, none=why, texts=() if why else model.golden.texts)
    models = {**SPEC.models, "classify": msgspec.structs.replace(model, golden=golden)}
    found = made(msgspec.structs.replace(SPEC, models=models))["classify", 1]
    assert (build.is_copied(found), bool(found.steps)) == (why is not None, why is None)
