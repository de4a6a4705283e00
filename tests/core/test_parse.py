"""Specs as data: what is good parses, what is bad gives every fault at its place, and nothing else ever happens."""

from __future__ import annotations

import re
import time
from pathlib import Path

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from pipeline.core import errors, parse, spec, structure

HERE = Path(__file__).parents[1] / "specs"
SAMPLE = (Path(__file__).parents[2] / "pipeline.yaml").read_bytes()
GOOD = sorted(HERE.glob("good/*.yaml"))
BAD = sorted(HERE.glob("bad/*.yaml"))


def refused(text: bytes) -> errors.InvalidSpec:
    """The error that the text raises; it has findings."""
    with pytest.raises(errors.InvalidSpec) as caught:
        parse.parse_spec(text, file="pipeline.yaml")
    assert caught.value.findings
    return caught.value


def parses(text: bytes) -> bool:
    """Whether the text is a spec."""
    try:
        parse.parse_spec(text, file="pipeline.yaml")
    except errors.InvalidSpec:
        return False
    return True


def lines(error: errors.InvalidSpec) -> list[str]:
    """One line a finding: its place, rule, path, message and hint."""
    return [
        f"{found.where.line}:{found.where.column} {found.rule} {found.where.path or '.'} | {found.message}"
        + (f" | {found.hint}" if found.hint else "")
        for found in error.findings
        if found.where
    ]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good(path: Path) -> None:
    """A good spec parses, and twice to the same."""
    assert parse.parse_spec(path.read_bytes(), file=path.name) == parse.parse_spec(path.read_bytes(), file=path.name)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad(path: Path) -> None:
    """A bad spec gives exactly the faults that its neighbour lists."""
    expected = path.with_suffix(".expected.txt").read_text(encoding="utf-8").splitlines()
    assert lines(refused(path.read_bytes())) == expected


NAMES = ["..", ".", "", "a/b", "/etc", " ..", "m\\n", "m ", "%2e%2e", "-m", "_m", "caf\\u00e9", "cafe\\u0301",
         "b\\u0435rt", "\\u0661", "m" * 129, "m" * 300, "CON", "nul.txt", "dot.", "M"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_elsewhere(name: str) -> None:
    """FAULTS row 5: a model's name that is a path, looks like another, or that some file system cannot hold is refused
    at its line, whatever else the spec says; the names beside it are none."""
    head, models = SAMPLE.decode().split("  minilm:", 1)
    found = refused(f'{head}  "{name}":{models}\n  m:{models}'.encode()).findings
    line = head.count("\n") + 1
    rules = {each.rule for each in found if each.where and each.where.line == line}
    assert rules & {"bad-name", "case-twin"} or any(each.rule == "case-twin" for each in found)


def test_the_sample() -> None:
    """The checked-in spec has the tutorial's model, the one with real weights, and that one asked by texts."""
    parsed = parse.parse_spec(SAMPLE, file="pipeline.yaml")
    assert list(parsed.models) == ["bert", "minilm", "minilm_tokenizer", "minilm_text"]
    bert = parsed.models["bert"]
    assert [bert.versions[number].source.config for number in (1, 2)] == [
        spec.ConfigSource(architecture="BertForSequenceClassification", options=OPTIONS, seed=seed) for seed in (0, 1)
    ]
    assert spec.batches(bert) == (1, 2, 32)


OPTIONS = {
    "num_labels": 2,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 512,
}


def test_versions_are_resolved() -> None:
    """Overrides merge key by key; another kind of source replaces the model's; a short form is written out."""
    versions = parse.parse_spec((HERE / "good/versions.yaml").read_bytes(), file="v").models["m"].versions
    assert list(versions) == [7, 8, 9]
    merged = spec.ConfigSource(architecture="BertModel", options={"hidden_size": 32, "layer": {"a": 1, "b": 5}}, seed=3)
    assert versions[7].source == spec.Source(config=merged)
    assert versions[8].source == spec.Source(path=spec.PathSource(folder="weights/new"))
    assert [version.export for version in versions.values()] == [
        spec.Export(method=method) for method in ("trace", "script", "trace")
    ]


def test_text_is_kept() -> None:
    """FAULTS row 3: names and free values that YAML 1.1 would coerce stay the text that was written."""
    model = parse.parse_spec((HERE / "good/text.yaml").read_bytes(), file="t").models["12"]
    source = model.versions[1].source.config
    assert source is not None
    assert source.options == {
        "NO": "NO",
        "on": "on",
        "1.0": "012",
        "hex": "0x1F",
        "grouped": "1_000",
        "time": "12:30",
        "day": "2024-01-01",
        "eq": "=",
        "nan": ".nan",
        "3": 1e-5,
    }
    assert (list(model.inputs), list(model.outputs)) == (["on"], ["null"])


def test_faults_of_one_model_do_not_hide_anothers() -> None:
    """The shape of one model is wrong, the meaning of another: both are told at once."""
    text = SAMPLE.replace(b"seed: 0", b"sed: 0").replace(b"max: 512", b"max: 0x200").replace(b"[1, 2, max]", b"[99]")
    other = b"\n  extra:\n    source: {path: ../x}\n    export: trace\n    inputs: {a: {dtype: FP32, shape: [2]}}\n"
    found = refused(text + other + b"    outputs: {b: {dtype: BF16, shape: [2]}}\n")
    assert {each.rule for each in found.findings} == {"unknown-key", "wrong-type", "bad-path", "dtype"}


def test_the_order_is_the_files() -> None:
    """Findings come in the order of the file, each with the model that it is about."""
    found = refused(SAMPLE.replace(b"INT32", b"INT31")).findings
    places = [each.where for each in found if each.where]
    assert len(places) == 6
    assert places == sorted(places)
    assert [each.model for each in found] == ["bert"] * 2 + ["minilm"] * 2 + ["minilm_tokenizer"] * 2


def _mutations() -> list[tuple[int, bytes, str]]:
    """Each key of the sample misspelt, and each of its values of another type: the line, the text, the rule."""
    found: list[tuple[int, bytes, str]] = []
    for number, line in enumerate(SAMPLE.decode().splitlines(keepends=True), start=1):
        code = "" if line.lstrip().startswith("#") else line.partition(" #")[0]
        keys = re.finditer(r"[A-Za-z_]\w*(?=: )|[A-Za-z_]\w*(?=:$)", code)
        found += [
            (number, _put(number, each.end(), each.end(), "xq"), "unknown-key")
            for each in keys
            if each.group() not in FREE
        ]
        values = re.finditer(r"(?<=: )[^ ,{}\[\]\n][^,{}\[\]\n]*", code)
        found += [
            (number, _put(number, each.start(), each.end(), "{a: {}}"), "wrong-value")
            for each in values
            if code[: each.start()].split()[-1].strip("{[:") not in OPTIONS
        ]
    return found


FREE = {"bert", "minilm", "input__0", "input__1", "output__0", "input_ids", "attention_mask", "sentence_embedding"} | {
    "sequence",
    "minilm_tokenizer",
    "minilm_text",
    "text",
    *OPTIONS,
}


def _put(number: int, start: int, end: int, text: str) -> bytes:
    whole = SAMPLE.decode().splitlines(keepends=True)
    line = whole[number - 1]
    whole[number - 1] = line[:start] + text + line[end:]
    return "".join(whole).encode()


@pytest.mark.parametrize(("line", "text", "rule"), _mutations())
def test_mutated_sample(line: int, text: bytes, rule: str) -> None:
    """FAULTS row 6: any key misspelt, any value of another type: a fault at that very line."""
    found = refused(text).findings
    at_line = [each for each in found if each.where and each.where.line == line]
    expected = (
        {"unknown-key", "config-field"}
        if rule == "unknown-key"
        else {"wrong-type", "wrong-value", "config-field", "unknown-key", "missing-key"}
    )
    assert {each.rule for each in at_line} & expected, lines(refused(text))


def test_there_are_many_mutations() -> None:
    """The sweep above finds the keys and values of the sample."""
    assert len(_mutations()) > 90


@hypothesis.given(st.binary(max_size=300))
@hypothesis.settings(max_examples=300, deadline=1000)
def test_any_bytes(text: bytes) -> None:
    """FAULTS row 4: any bytes are a spec or are refused with findings, within a second, and nothing else."""
    _only_refused(text)


PIECES = """version source config inputs target image models m x 1 012 0x .nan 1e400 ~ true : { } [ ] , - ? &a *a
<< !!int ' " | > # %YAML --- ... \x00 \u00e9"""
WORDS = st.sampled_from([*(word.encode() for word in PIECES.split()), b": ", b"- ", b"\n", b" ", b"\t", b"\xff"])


@hypothesis.given(st.lists(WORDS, max_size=60))
@hypothesis.settings(max_examples=500, deadline=1000)
def test_any_words(words: list[bytes]) -> None:
    """FAULTS row 4: YAML's own pieces in any order are refused with findings too."""
    _only_refused(b"".join(words))


@hypothesis.given(st.integers(0, len(SAMPLE)), st.integers(0, 40), st.lists(WORDS, max_size=3))
@hypothesis.settings(max_examples=300, deadline=1000)
def test_any_edit(start: int, size: int, words: list[bytes]) -> None:
    """Any one edit of the sample parses or is refused with findings."""
    _only_refused(SAMPLE[:start] + b"".join(words) + SAMPLE[start + size :])


def _only_refused(text: bytes) -> None:
    found = [] if parses(text) else refused(text).findings
    assert all(each.where and each.message for each in found)
    msgspec.json.encode(found)


def test_a_fault_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the schema ever accept what msgspec refuses, its refusal is told: no error comes without findings."""
    monkeypatch.setattr(structure, "faults", lambda *_: [])
    assert lines(refused(b"version: 2")) == ["1:1 wrong-type . | Invalid enum value 2 - at `$.version`"]


def test_fast() -> None:
    """A spec of 80 lines takes a few milliseconds, and jsonschema is not imported for it."""
    parse.parse_spec(SAMPLE, file="pipeline.yaml")
    before = time.process_time()
    for _ in range(10):
        parse.parse_spec(SAMPLE, file="pipeline.yaml")
    assert (time.process_time() - before) / 10 < 0.02
