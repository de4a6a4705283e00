"""config.pbtxt: what it says, that it survives the text, and what of a live one is a difference."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from pipeline.core import config, errors, parse, platforms, spec

SAMPLE = parse.parse_spec((Path(__file__).parents[2] / "pipeline.yaml").read_bytes(), file="pipeline.yaml")
BERT = SAMPLE.models["bert"]
DIGEST = "sha256:" + "ab" * 32

TUTORIAL = """
name: "bert"
platform: "pytorch_libtorch"
max_batch_size: 32
input [
    { name: "input__0"  data_type: TYPE_INT32  dims: [256] },
    { name: "input__1"  data_type: TYPE_INT32  dims: [256] }
]
output { name: "output__0"  data_type: TYPE_FP32  dims: [2] }
"""


def test_the_tutorials_config() -> None:
    """The sample's config is the tutorial's, field for field, and beside it only what the spec adds."""
    data = config.parse(config.dump(config.model_config(BERT, digest=DIGEST)))
    added = {
        "version_policy": {"specific": {"versions": [1, 2]}},
        "dynamic_batching": {"max_queue_delay_microseconds": 100},
        "parameters": {"pipeline_digest": {"string_value": DIGEST}},
    }
    assert data == {**config.parse(TUTORIAL), **added}


def test_named_axes_have_any_size() -> None:
    """The batch axis leaves dims and a named axis is -1; without batching every axis stays."""
    minilm = SAMPLE.models["minilm"]
    assert [each["dims"] for each in config.model_config(minilm, digest=None)["input"]] == [[-1], [-1]]
    tensor = spec.Input(dtype="FP32", shape=("rows", 4))
    whole = msgspec.structs.replace(minilm, max_batch_size=0, inputs={"x": tensor})
    assert config.model_config(whole, digest=None)["input"][0]["dims"] == [-1, 4]


def exported(method: spec.Method, **more: Any) -> spec.Model:
    """The sample's bert, exported another way."""
    versions = {
        number: msgspec.structs.replace(each, export=spec.Export(method=method))
        for number, each in BERT.versions.items()
    }
    return msgspec.structs.replace(BERT, versions=versions, **more)


def test_platform_follows_from_the_export() -> None:
    """One word changes the platform; one instance of an ONNX model has all cores, unless the spec wants more."""
    data = config.model_config(exported("onnx"), digest=None)
    assert (data["platform"], data["instance_group"]) == ("onnxruntime_onnx", [{"count": 1}])
    more = config.model_config(exported("onnx", config={"instance_group": [{"count": 3}]}), digest=None)
    assert more["instance_group"] == [{"count": 3}]


def test_openvino_gets_what_nvidias_backend_needs() -> None:
    """OpenVINO has no platform, runs on a CPU alone, and answers batches that are not full only if it may pad them."""
    data = config.model_config(exported("openvino"), digest=DIGEST)
    assert ("platform" in data, data["backend"], data["instance_group"]) == (False, "openvino", [{"kind": "KIND_CPU"}])
    assert data["parameters"] == {
        "ENABLE_BATCH_PADDING": {"string_value": "YES"}, "pipeline_digest": {"string_value": DIGEST}
    }  # fmt: skip
    own = {"parameters": {"ENABLE_BATCH_PADDING": {"string_value": "NO"}, "NUM_STREAMS": {"string_value": "2"}}}
    assert config.model_config(exported("openvino", config=own), digest=None)["parameters"] == own["parameters"]
    alone = config.model_config(exported("openvino", max_batch_size=0, config={}), digest=None)
    assert "parameters" not in alone


def test_embedded_variant_of_a_compiled_package() -> None:
    """The embedded server gets the package by its backend, and what it makes of that is no difference."""
    desired = config.model_config(exported("aoti", max_batch_size=1), digest=DIGEST)
    other = platforms.variant(desired)
    assert other is not None
    assert {key: value for key, value in desired.items() if key != "platform"}.items() <= other.items()
    assert "platform" not in other
    live = {**other, "platform": "pytorch_libtorch"}
    assert config.differences(desired, live) == ()
    assert config.differences(desired, {**live, "default_model_filename": "model.pt"})
    assert platforms.variant(config.model_config(BERT, digest=None)) is None


def test_a_finished_file_is_served_as_it_was() -> None:
    """A `file` source has the platform of its name, and no field that nobody wrote."""
    source = spec.Source(file=spec.FileSource(path="old/model.onnx", sha256="0" * 64))
    model = msgspec.structs.replace(BERT, versions={1: spec.Version(number=1, source=source, export=None)}, config={})
    data = config.model_config(model, digest=None)
    assert data["platform"] == "onnxruntime_onnx"
    assert "instance_group" not in data


@pytest.mark.parametrize(("count", "same"), [(2, True), (1, True), (3, False)])
def test_instances_that_triton_makes_by_itself(count: int, same: bool) -> None:  # noqa: FBT001
    """Triton makes two instances of an ONNX model on a CPU where the config says no number: no difference."""
    desired = {"name": "m", "platform": "onnxruntime_onnx"}
    live = {**desired, "backend": "onnxruntime", "default_model_filename": "model.onnx",
            "instance_group": [{"name": "m", "kind": "KIND_CPU", "count": count}]}  # fmt: skip
    assert (config.differences(desired, live) == ()) is same


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (None, None),
        ("all", {"all": {}}),
        (spec.VersionPolicy(latest=2), {"latest": {"num_versions": 2}}),
        (spec.VersionPolicy(specific=(1, 3)), {"specific": {"versions": [1, 3]}}),
    ],
)
def test_version_policy(policy: Any, expected: object) -> None:
    """Each version policy has Triton's own form; none leaves Triton its default."""
    model = msgspec.structs.replace(BERT, version_policy=policy)
    data = config.parse(config.dump(config.model_config(model, digest=None)))
    assert data.get("version_policy") == expected


TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=30)


@hypothesis.given(st.dictionaries(TEXTS, TEXTS, max_size=5), TEXTS)
def test_text_in_values_round_trips(parameters: dict[str, str], tag: str) -> None:
    """FAULTS row 7: quotes, newlines, braces, anything in values comes out of config.pbtxt as it went in."""
    values = {key: {"string_value": value} if value else {} for key, value in parameters.items()}
    model = msgspec.structs.replace(BERT, config={"parameters": values, "metric_tags": {"tag": tag}})
    data = config.parse(config.dump(config.model_config(model, digest=DIGEST)))
    assert data["parameters"] == {**values, "pipeline_digest": {"string_value": DIGEST}}
    assert data["metric_tags"] == {"tag": tag}
    assert data["input"] == config.model_config(BERT, digest=None)["input"]


@pytest.mark.parametrize("text", ['x"\n}\nname: "evil"', "\\", "\x00", "'", "\u2028", "{", "# no comment"])
def test_injection(text: str) -> None:
    """FAULTS row 7: no value can end its own string and say more."""
    model = msgspec.structs.replace(BERT, config={"parameters": {"a": {"string_value": text}}})
    assert config.parse(config.dump(config.model_config(model, digest=None)))["name"] == "bert"


def test_text_is_readable() -> None:
    """Letters beyond ASCII stand in config.pbtxt as they are: a reviewer reads it."""
    model = msgspec.structs.replace(BERT, config={"metric_tags": {"tag": "caf\u00e9"}})
    assert "caf\u00e9" in config.dump(config.model_config(model, digest=None))


def test_deterministic() -> None:
    """The text does not depend on the order of maps."""
    values = {name: {"string_value": name} for name in "zbxa"}
    first = msgspec.structs.replace(BERT, config={"parameters": values})
    second = msgspec.structs.replace(BERT, config={"parameters": dict(sorted(values.items()))})
    assert config.dump(config.model_config(first, digest=None)) == config.dump(config.model_config(second, digest=None))


def test_bad_text_names_the_line() -> None:
    """A comma too many, which Triton cannot read, is refused with its line."""
    with pytest.raises(errors.PipelineError, match=r"^config.pbtxt is no ModelConfig: 4:"):
        config.parse('name: "bert"\n\nmax_batch_size: 1\n,,\n')


@pytest.mark.parametrize(
    "data", [{"nme": "x"}, {"max_batch_size": "many"}, {"input": [{"data_type": "INT32"}]}], ids=str
)
def test_bad_data(data: dict[str, Any]) -> None:
    """Data that is no ModelConfig is refused, not written."""
    with pytest.raises(errors.PipelineError):
        config.dump(data)


LIVE: dict[str, Any] = {
    **config.model_config(BERT, digest=DIGEST),
    "backend": "pytorch",
    "runtime": "model.py",
    "batch_input": [],
    "optimization": {
        "priority": "PRIORITY_DEFAULT",
        "input_pinned_memory": {"enable": True},
        "output_pinned_memory": {"enable": True},
        "gather_kernel_buffer_threshold": 0,
        "eager_batching": False,
    },
    "dynamic_batching": {"preferred_batch_size": [32], "max_queue_delay_microseconds": 100, "preserve_ordering": False},
    "instance_group": [{"name": "bert", "kind": "KIND_CPU", "count": 1, "gpus": [], "passive": False}],
    "default_model_filename": "model.pt",
    "cc_model_filenames": {},
    "model_warmup": [],
    "field_of_a_newer_server": 1,
}
"""What Triton 24.10 answered for the sample, shortened; the whole is asked of a real server in tests/real."""


def test_what_triton_fills_in_is_no_difference() -> None:
    """A live config differs from the desired one in nothing but what the server adds by itself."""
    assert config.differences(config.model_config(BERT, digest=DIGEST), LIVE) == ()


CHANGES: list[tuple[str, str, object]] = [
    ("max_batch_size", "max_batch_size", 16),
    ("platform", "platform", "onnxruntime_onnx"),
    ("backend", "backend", "onnxruntime"),
    ("default_model_filename", "default_model_filename", "other.pt"),
    ("version_policy", "version_policy.latest", {"latest": {"num_versions": 1}}),
    ("dynamic_batching", "dynamic_batching.max_queue_delay_microseconds", {"max_queue_delay_microseconds": 99}),
    ("instance_group", "instance_group[0].count", [{"name": "bert", "kind": "KIND_CPU", "count": 2}]),
    ("instance_group", "instance_group", [{"count": 1}, {"count": 1}]),
    ("optimization", "optimization.input_pinned_memory", {"input_pinned_memory": {}}),
    ("model_transaction_policy", "model_transaction_policy", {"decoupled": True}),
    ("parameters", "parameters.pipeline_digest.string_value", {"pipeline_digest": {"string_value": "sha256:cd"}}),
    ("input", "input", []),
]


@pytest.mark.parametrize(("field", "path", "value"), CHANGES, ids=[path for _, path, _ in CHANGES])
def test_differences(field: str, path: str, value: object) -> None:
    """Every field that Triton does not fill in by itself is compared, and named by its path."""
    live = copy.deepcopy(LIVE)
    live[field] = value
    found = config.differences(config.model_config(BERT, digest=DIGEST), live)
    assert path in [each for each, _, _ in found]


FILLED: list[tuple[dict[str, str], dict[str, str]]] = [
    ({"platform": "onnxruntime_onnx"}, {"backend": "onnxruntime", "default_model_filename": "model.onnx"}),
    ({"backend": "onnxruntime"}, {"platform": "onnxruntime_onnx", "default_model_filename": "model.onnx"}),
    ({"platform": "tensorflow_graphdef"}, {"backend": "tensorflow", "default_model_filename": "model.graphdef"}),
    ({"platform": "tensorflow_savedmodel"}, {"backend": "tensorflow", "default_model_filename": "model.savedmodel"}),
    ({"backend": "python"}, {"default_model_filename": "model.py"}),
    ({"backend": "openvino"}, {"default_model_filename": "model.xml"}),
    ({"default_model_filename": "model.plan"}, {"backend": "tensorrt", "platform": "tensorrt_plan"}),
    ({"backend": "dali"}, {"default_model_filename": "model.dali"}),
    ({}, {"backend": "identity", "default_model_filename": "model.identity"}),
    ({"platform": "ensemble"}, {}),
]


@pytest.mark.parametrize(("said", "filled"), FILLED, ids=str)
def test_what_runs_a_model_is_filled_in(said: dict[str, str], filled: dict[str, str]) -> None:
    """Platform, backend and file that follow from one another, or from the files, are no difference."""
    desired = {"name": "m", "max_batch_size": 4, **said}
    assert config.differences(desired, {**desired, **filled}) == ()
    for key, value in said.items():
        live = {**desired, **filled, key: "other"}
        assert (key, value, "other") in config.differences(desired, live)


def test_imports_little() -> None:
    """Neither the parser nor the config's data imports grpc, tritonclient, jsonschema or torch."""
    code = (
        "import sys; from pathlib import Path; from pipeline.core import config, parse\n"
        "made = parse.parse_spec(Path('pipeline.yaml').read_bytes(), file='p')\n"
        "print(config.dump(config.model_config(made.models['bert'], digest='d')).count('input__'))\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('grpc', 'tritonclient', 'jsonschema', 'torch')])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout == "2\n[]\n"
