"""Adopting: whatever a repository says, the spec says the same, and what cannot be said is told and not written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from pipeline.core import adopt, config, errors, parse, schema, yamltext
from tests import any_config

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.pbtxt"))
IMAGE = "nvcr.io/nvidia/tritonserver:26.08-py3"
HEX = "ab" * 32


def folder(name: str, text: str | None, files: str = "") -> adopt.Folder:
    """A model's folder; its files are named in the text's first line, where they are not given."""
    named = files or re.match(r"# files: (.*)", text or "")[1]  # type: ignore[index]
    there = {path.removesuffix("/"): "folder" if path.endswith("/") else HEX for path in named.split()}
    return adopt.Folder(name=name, path=f"old/{name}", config=text, files={"config.pbtxt": HEX, **there})


FOLDERS = [folder(path.stem, path.read_text(encoding="utf-8")) for path in CONFIGS]


def taken(*folders: adopt.Folder) -> adopt.Adopted:
    """What becomes of folders."""
    return adopt.adopt(folders, origin="old", image=IMAGE)


def rendered(made: adopt.Adopted) -> dict[str, Any]:
    """The config of each model that follows from the spec, in its one form."""
    declared = parse.parse_spec(made.text.encode(), file="pipeline.yaml")
    return {name: config.normalize(config.model_config(model, digest=HEX)) for name, model in declared.models.items()}


def without_digest(data: dict[str, Any]) -> dict[str, Any]:
    """A config without the pipeline's own parameter."""
    rest = {key: value for key, value in data.get("parameters", {}).items() if key != config.DIGEST}
    bare = {key: value for key, value in data.items() if key != "parameters"}
    return {**bare, "parameters": rest} if rest else bare


WHOLE = taken(*FOLDERS)


def test_there_are_many() -> None:
    """At least forty configs, and between them every field of ModelConfig but those that Triton keeps to itself."""
    assert len(CONFIGS) >= 40
    used: set[str] = set()
    for each in FOLDERS:
        _fields(config._message(config.parse(each.config or "")), used)
    whole = _all(config.protobuf().ModelConfig.DESCRIPTOR, set())
    assert whole - used == {"ModelEnsembling.Step.model_namespace"}


def _fields(message: Any, used: set[str]) -> None:
    from pipeline.core import descriptors  # noqa: PLC0415

    for field, value in message.ListFields():
        used.add(f"{descriptors.named(message.DESCRIPTOR)}.{field.name}")
        single = descriptors.value(field)
        if single.message_type is not None:
            several = value.values() if descriptors.is_map(field) else value if field.is_repeated else [value]
            for each in several:
                _fields(each, used)


def _all(kind: Any, found: set[str]) -> set[str]:
    from pipeline.core import descriptors  # noqa: PLC0415

    for field in kind.fields:
        path = f"{descriptors.named(kind)}.{field.name}"
        if path not in found:
            if field.enum_type is not None and len(field.enum_type.values) == 1:
                continue  # it has but its default, which no text keeps
            found.add(path)
            single = descriptors.value(field)
            if single.message_type is not None:
                _all(single.message_type, found)
    return found


def test_all_are_adopted() -> None:
    """Every config becomes an entry of one spec, without a finding."""
    assert [(each.model, each.message) for each in WHOLE.findings] == []
    assert set(WHOLE.models) == {path.stem for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_config_is_equal(path: Path) -> None:
    """The config that follows from the spec is the one that was found, as a protobuf message, but for the digest; a
    config without a name gets the folder's."""
    found = config.normalize({**config.parse(path.read_text(encoding="utf-8")), "name": path.stem})
    assert without_digest(rendered(WHOLE)[path.stem]) == without_digest(found)


def test_the_text_is_stable_and_valid() -> None:
    """The order of the folders does not matter, and an editor finds no fault either."""
    import jsonschema  # noqa: PLC0415

    assert taken(*reversed(FOLDERS)).text == WHOLE.text
    data = yamltext.load(WHOLE.text.encode(), file="f").data
    jsonschema.Draft202012Validator(schema.document_schema()).validate(data)


TENSORS = st.lists(
    st.tuples(st.sampled_from(["INT32", "FP32", "STRING", "BF16", "UINT64", "BOOL"]), st.lists(
        st.integers(1, 2**31 - 1) | st.just(-1), min_size=1, max_size=4)),
    min_size=1, max_size=3,
)  # fmt: skip
CONFIG = config.protobuf().ModelConfig.DESCRIPTOR
OWN = ("name", "max_batch_size", "input", "output", "version_policy", "platform", "backend", "default_model_filename")
# What Triton refuses of these is another test's: here is what it does not judge, or what cannot be wrong.
JUDGED = ("sequence_batching", "ensemble_scheduling", "model_warmup", "batch_input", "batch_output", "model_metrics",
          "instance_group", "dynamic_batching", "response_cache")  # fmt: skip


CHOICES: list[list[dict[str, Any]]] = [
    [{}, {"max_batch_size": 4}, {"max_batch_size": 2**31 - 1}],
    [{"backend": "mine"}, {"platform": "onnxruntime_onnx"}, {"platform": "p", "backend": "b"}],
    [{}, {"version_policy": {"all": {}}}, {"version_policy": {"latest": {"num_versions": 3}}}],
    [{}, {"name": "m"}, {"default_model_filename": "a b"}],
]


@st.composite
def texts(draw: st.DrawFn, without: tuple[str, ...]) -> str:
    """The text of a config whose tensors and policy are good, and whose other fields hold anything."""
    data: dict[str, Any] = draw(any_config.messages(CONFIG, without=(*OWN, *without)))
    for field in ("input", "output"):
        data[field] = [
            {"name": f"{field} {number}", "data_type": f"TYPE_{kind}", "dims": dims}
            for number, (kind, dims) in enumerate(draw(TENSORS))
        ]
    for choice in CHOICES:
        data |= draw(st.sampled_from(choice))
    if not data.keys() & {"sequence_batching", "ensemble_scheduling"} and draw(st.booleans()):
        data["dynamic_batching"] = {}
    return config.dump(data)


@hypothesis.given(texts(JUDGED))
@hypothesis.settings(max_examples=150, deadline=None)
def test_any_config_is_adopted_as_it_is(text: str) -> None:
    """Whatever a config says, it comes back out of the adopted spec, equal as a message."""
    made = taken(folder("m", text, "1/model.mine 2/more/files"))
    found = {**config.parse(text), "name": "m"}
    assert [each.message for each in made.findings] == []
    assert without_digest(rendered(made)["m"]) == without_digest(config.normalize(found))


@hypothesis.given(texts(()))
@hypothesis.settings(max_examples=150, deadline=None)
def test_any_config_is_equal_or_refused(text: str) -> None:
    """Where any field may hold anything, Triton's rules refuse much; what they let pass is equal, the rest is told."""
    made = taken(folder("m", text, "1/model.mine 2/more/files"))
    if made.models:
        found = {**config.parse(text), "name": "m"}
        assert without_digest(rendered(made)["m"]) == without_digest(config.normalize(found))
    else:
        assert {each.model for each in made.findings} == {"m"}
        assert all(each.message for each in made.findings)


TENSOR = '{ name: "x" data_type: TYPE_FP32 dims: 4 }\n'
GOOD = f'platform: "onnxruntime_onnx"\ninput {TENSOR}output {TENSOR.replace("x", "y")}'
REFUSED: dict[str, tuple[str | None, str, str]] = {
    "no config": (None, "1/model.onnx", "it has no config.pbtxt"),
    "no text of protobuf": ("name: [", "1/model.onnx", "config.pbtxt is no ModelConfig: 1:"),
    "unknown field": (GOOD + "model_magic { }", "1/model.onnx", "no field named"),
    "another name": (GOOD + 'name: "n"', "1/model.onnx", "its config is that of `n`"),
    "no inputs": ('platform: "onnxruntime_onnx"', "1/model.onnx", "its config has no inputs"),
    "no outputs": ('input { name: "x" data_type: TYPE_FP32 dims: 4 }', "1/model.onnx", "its config has no outputs"),
    "no type": (GOOD.replace("data_type: TYPE_FP32 ", ""), "1/model.onnx", "`x` has no type"),
    "no dims": (GOOD.replace("dims: 4", ""), "1/model.onnx", "`x` has the dims []"),
    "odd dims": (GOOD.replace("dims: 4", "dims: 0"), "1/model.onnx", "`x` has the dims [0]"),
    "two of a name": (GOOD.replace('"y"', '"x"') + 'output { name: "x" data_type: TYPE_FP32 dims: 4 }', "1/model.onnx",
                      "two outputs `x`"),
    "no tensor's name": (GOOD.replace('name: "x" ', ""), "1/model.onnx", "an input has no name"),
    "a tensor's name": (GOOD.replace('"x"', '"x\\n"'), "1/model.onnx", "is not a tensor's name"),
    "negative batch": (GOOD + "max_batch_size: -1", "1/model.onnx", "max_batch_size is -1"),
    "no version": (GOOD, "01/model.onnx", "it has no version"),
    "empty version": (GOOD, "1/model.onnx 2/", "version 2 has no file"),
    "policy of none": (GOOD + "version_policy { latest { } }", "1/model.onnx", "version_policy serves no version"),
    "policy of nothing": (GOOD + "version_policy { }", "1/model.onnx", "version_policy serves no version"),
    "policy of others": (GOOD + "version_policy { specific { versions: 2 } }", "1/model.onnx", "no version 2"),
    "infinite": (GOOD + "model_metrics { metric_control { metric_identifier { family: \"f\" } histogram_options { "
                 "buckets: inf } } }", "1/model.onnx", "is inf"),
    "lost labels": (GOOD.replace('"y"', '"y" label_filename: "l"'), "1/model.onnx",
                    "no file `l` lies beside the config"),
    "what Triton refuses": (GOOD + "instance_group { kind: KIND_CPU gpus: 0 }", "1/model.onnx", "takes no `gpus`"),
    "unknown backend": (GOOD.partition("\n")[2], "1/weights.bin", "nothing says which backend runs it"),
    "half an ensemble": (GOOD + "ensemble_scheduling { }", "1/", "its platform is not `ensemble`"),
    "an odd file": (GOOD, "1/model.onnx 1/a\\b", "is not the path of a file in a version's folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_adopted_is_told(case: str) -> None:
    """A model that no spec can say, or that Triton itself would refuse, is left out with the reason and what to do."""
    text, files, message = REFUSED[case]
    made = taken(folder("m", text, files), FOLDERS[0])
    assert made.models == (FOLDERS[0].name,)
    assert message in made.findings[0].message
    assert {each.model for each in made.findings} == {"m"}


@pytest.mark.parametrize("kind", ["link", "hardlink", "special"])
def test_links_are_not_adopted(kind: str) -> None:
    """What is no plain file cannot be pinned by a digest: it may change from elsewhere."""
    good = folder("m", GOOD, "1/model.onnx")
    made = taken(msgspec.structs.replace(good, files={**good.files, "1/weights.bin": kind}))
    assert made.models == ()
    assert made.text == ""
    assert "1/weights.bin is" in made.findings[0].message


def test_an_ensemble_goes_with_its_models() -> None:
    """An ensemble of a model that is left out is left out too, with its own reason."""
    chain = next(each for each in FOLDERS if each.name == "chain")
    made = taken(chain, folder("dynamic", None, "1/model.onnx"))
    assert made.models == ()
    assert [each.model for each in made.findings] == ["dynamic", "chain", "chain"]


def test_what_is_assumed_is_said() -> None:
    """What Triton takes a missing field for, and what it does not look at, stands above it; so with the image."""
    text = GOOD.partition("\n")[2]
    files = "1/model.onnx 0/old.onnx 01/old.onnx .git/config notes.txt"
    made = adopt.adopt([folder("m", text, files)], origin="old", image=IMAGE, assumed=True)
    head, _, body = made.text.partition("models:\n")
    assert "# Nobody has said which image serves these models" in head
    assert body.splitlines()[:3] == [
        "  # Its config has no name: Triton takes the folder's.",
        "  # Its config names no backend: Triton takes onnxruntime, by the file model.onnx.",
        "  # Left out, since Triton does not look at it: .git/config, 0/old.onnx, 01/old.onnx.",
    ]
    declared = parse.parse_spec(made.text.encode(), file="f").models["m"]
    assert list(declared.files) == ["notes.txt"]


def test_versions_replace_one_another() -> None:
    """A later version has its own files alone, whatever the first one has besides."""
    made = taken(next(each for each in FOLDERS if each.name == "every_version"))
    versions = parse.parse_spec(made.text.encode(), file="f").models["every_version"].versions
    files = {number: set(each.source.file.files) for number, each in versions.items() if each.source.file}
    assert files == {1: {"model.onnx"}, 2: {"model.onnx", "weights.bin"}}
    reversed_files = folder("every_version", GOOD, "1/model.onnx 1/weights.bin 2/model.onnx")
    versions = parse.parse_spec(taken(reversed_files).text.encode(), file="f").models["every_version"].versions
    files = {number: set(each.source.file.files) for number, each in versions.items() if each.source.file}
    assert files == {1: {"model.onnx", "weights.bin"}, 2: {"model.onnx"}}


def test_goldens_where_they_can_be_had() -> None:
    """TorchScript that plain requests can ask keeps its goldens; of everything else the spec says why it has none."""
    models = parse.parse_spec(WHOLE.text.encode(), file="f").models
    asked = {name for name, model in models.items() if model.golden.none is None}
    assert asked == {"torchscript", "ours", "ours_and_more"}
    assert models["sequence_direct"].golden.none == "a sequence is more than one request"
    assert models["chain"].golden.none == "an ensemble has no reference"
    assert models["dali"].golden.none == "the files of dali are served as they were found"


def test_nothing_is_nobodys_fault() -> None:
    """A spec that grew too large to be read is told as such, and not blamed on a model."""
    many = [folder(f"m{number:05}", GOOD, "1/model.onnx") for number in range(6000)]
    with pytest.raises(errors.PipelineError, match="cannot be read: the file has") as caught:
        taken(*many)
    assert "--model" in caught.value.hint
