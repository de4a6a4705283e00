"""The pytorch backend under a real Triton: how inputs and outputs are matched, and what is refused with which words.

The words are those of NVIDIA's C++ backend (triton-inference-server/pytorch_backend), so that a repository that serves
here serves there, and one that is refused there is refused here.
"""
# ruff: noqa: E501 - a refusal is one line, as Triton says it

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.core import errors
from tests.real import loading, modules, repository

pytestmark = pytest.mark.real

FP = ("x__0", "FP32", [4])
OUT = ("y__0", "FP32", [4])
LEFT = np.array([[1, 2, 3, 4]], np.float32)
RIGHT = np.array([[10, 20, 30, 40]], np.float32)


class Server(loading.Server):
    """A Triton whose models are TorchScript, named after the classes of `modules`."""

    def load(self, what: Any, inputs: Any, outputs: Any, *, file: str | None = None, **more: Any) -> str:
        """The same with a class of `modules` by its name."""

        def write(path: Path) -> None:
            torch.jit.script(getattr(modules, what)()).save(str(path))

        return super().load(write, inputs, outputs, file=file, **more)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Triton without models."""
    root = tmp_path_factory.mktemp("backend")
    with repository.serving(root) as running:
        yield Server(running, root / "models", platform='backend: "pytorch"', file="1/model.pt")


MATCHES = {
    "rule 1: names of arguments, in any order": ([("right", "FP32", [4]), ("left", "FP32", [4])], "right", "left", -1),
    "rule 2: the integer is the position": ([("a__1", "FP32", [4]), ("b__0", "FP32", [4])], "b__0", "a__1", 1),
    "rule 3: no suffix, the config's order": ([("q", "FP32", [4]), ("p", "FP32", [4])], "q", "p", 1),
    "rule 3: a suffix that is no integer": ([("q__a", "FP32", [4]), ("p__0", "FP32", [4])], "q__a", "p__0", 1),
    "rule 3: a name of an argument among others": ([("right", "FP32", [4]), ("p", "FP32", [4])], "right", "p", 1),
}


@pytest.mark.parametrize("case", MATCHES)
def test_inputs_meet_arguments(server: Server, case: str) -> None:
    """Inputs are matched to the arguments of forward() by the first rule that fits all names."""
    inputs, first, second, sign = MATCHES[case]
    name = server.load("Subtract", inputs, [OUT])
    answer = server.ask(name, ("y__0",), **{first: LEFT, second: RIGHT})["y__0"]
    np.testing.assert_array_equal(answer, sign * (LEFT - RIGHT))


def test_a_fall_back_to_the_config_order_is_warned_of(server: Server) -> None:
    """A suffix that is no integer falls back to the config's order with a warning in the log."""
    name = server.load("Subtract", [("q__a", "FP32", [4]), ("p__0", "FP32", [4])], [OUT])
    log = server.said()
    assert f"neither an input argument to the model '{name}' nor do they follow the <name>__<index>" in log


RESULTS = {
    "rule 2: the integer is the element": ([("o__1", "FP32", [4])], {"o__1": 2}),
    "rule 2: in any order": ([("o__1", "FP32", [4]), ("a__0", "FP32", [4])], {"o__1": 2, "a__0": 1}),
    "rule 3: the config's order": ([("z", "FP32", [4]), ("y", "FP32", [4])], {"z": 1, "y": 2}),
}


@pytest.mark.parametrize("case", RESULTS)
def test_outputs_meet_results(server: Server, case: str) -> None:
    """Outputs are elements of what forward() returns, by suffix or by the config's order."""
    outputs, added = RESULTS[case]
    name = server.load("Pair", [FP], outputs)
    answer = server.ask(name, tuple(added), x__0=LEFT)
    for key, number in added.items():
        np.testing.assert_array_equal(answer[key], LEFT + number)


def test_texts_pass_as_lists(server: Server) -> None:
    """A list of texts goes into forward() and comes out of it, of any length and letters."""
    name = server.load("Upper", [("x__0", "STRING", [-1])], [("y__0", "STRING", [-1])], batch=0)
    given = np.array([b"triton", b"", "caf\u00e9".encode()], dtype=np.object_)
    assert server.ask(name, ("y__0",), x__0=given)["y__0"].tolist() == [
        b"TRITON",
        b"",
        "CAF\u00e9".encode(),
    ]  # TorchScript knows ASCII capitals


def test_outputs_come_sorted_by_name(server: Server) -> None:
    """A response lists its outputs by name, whatever the config's order."""
    name = server.load("Pair", [FP], [("b__0", "FP32", [4]), ("a__1", "FP32", [4])])
    body = json.dumps(
        {"inputs": [{"name": "x__0", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
    ).encode()
    url = f"http://127.0.0.1:{server.running.ports.http}/v2/models/{name}/infer"
    with urllib.request.urlopen(url, data=body, timeout=30) as answer:
        assert [output["name"] for output in json.load(answer)["outputs"]] == ["a__1", "b__0"]


def test_a_dictionary_takes_the_names_as_keys(server: Server) -> None:
    """A model with one Dict[str, Tensor] argument gets every input under its config name."""
    name = server.load("ByName", [("right", "FP32", [4]), ("left", "FP32", [4])], [OUT])
    answer = server.ask(name, ("y__0",), left=LEFT, right=RIGHT)["y__0"]
    np.testing.assert_array_equal(answer, LEFT - RIGHT)


def test_a_dynamic_batch_is_one_forward(server: Server) -> None:
    """Requests that meet in a batch run in one forward, and each gets its own rows back."""
    name = server.load("Rows", [FP], [OUT], more="dynamic_batching { max_queue_delay_microseconds: 300000 }")
    sizes = [1, 2, 1, 3]
    with concurrent.futures.ThreadPoolExecutor(len(sizes)) as pool:
        ask = [pool.submit(server.ask, name, ("y__0",), x__0=np.ones((size, 4), np.float32)) for size in sizes]
        answers = [each.result()["y__0"] for each in ask]
    assert [len(answer) for answer in answers] == sizes
    assert max(float(answer.max()) for answer in answers) > max(sizes)
    counts = server.client.statistics(name)["model_stats"][0]
    assert counts["execution_count"] < counts["inference_count"]


def test_every_data_type_passes_unchanged(server: Server) -> None:
    """Each data type that the backend takes goes in and out without a change, twice over."""
    kinds = {
        "BOOL": np.array([[True, False]]),
        "UINT8": np.array([[0, 255]], np.uint8),
        "INT8": np.array([[-128, 127]], np.int8),
        "INT16": np.array([[-32768, 32767]], np.int16),
        "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
        "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
        "FP16": np.array([[-0.5, 65504]], np.float16),
        "FP32": np.array([[-0.0, np.inf]], np.float32),
        "FP64": np.array([[1e-310, np.nan]], np.float64),
    }
    inputs = [(f"x__{index}", kind, [2]) for index, kind in enumerate(kinds)]
    outputs = [(f"y__{index}", kind, [2]) for index, kind in enumerate(kinds)]
    name = server.load("Every", inputs, outputs)
    for _ in range(2):
        sent = {f"x__{index}": array for index, array in enumerate(kinds.values())}
        answer = server.ask(name, tuple(output[0] for output in outputs), **sent)
        for index, array in enumerate(kinds.values()):
            assert answer[f"y__{index}"].tobytes() == array.tobytes()


def test_no_batch_axis(server: Server) -> None:
    """With max_batch_size 0 the dims are the whole shape."""
    name = server.load("Turned", [("x__0", "FP32", [1, 2, -1])], [("y__0", "FP32", [1, -1, 2])], batch=0)
    sent = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    np.testing.assert_array_equal(server.ask(name, ("y__0",), x__0=sent)["y__0"], sent.transpose(0, 2, 1))


def test_the_file_can_have_another_name(server: Server) -> None:
    """default_model_filename names the TorchScript file."""
    name = server.load("Pair", [FP], [OUT], file="1/other.pt", more='default_model_filename: "other.pt"')
    np.testing.assert_array_equal(server.ask(name, ("y__0",), x__0=LEFT)["y__0"], LEFT + 1)


CORES = len(os.sched_getaffinity(0))
HALF = max(1, CORES // 2)
SETTINGS: dict[str, tuple[dict[str, str], str, int, tuple[int, int]]] = {
    "all cores for one instance": ({}, "", 1, (CORES, CORES)),
    "instances share the cores": ({}, "instance_group { kind: KIND_CPU count: 2 }", 1, (HALF, HALF)),
    "KIND_MODEL": ({}, "instance_group { kind: KIND_MODEL }", 1, (CORES, CORES)),
    "threads are asked for": ({"INTRA_OP_THREAD_COUNT": "3", "INTER_OP_THREAD_COUNT": "4"}, "", 1, (3, 4)),
    "no threads are no wish": ({"INTRA_OP_THREAD_COUNT": "0"}, "", 1, (CORES, CORES)),
    "inference mode off": ({"INFERENCE_MODE": "Off", "DISABLE_OPTIMIZED_EXECUTION": "TRUE"}, "", 0, (CORES, CORES)),
    "unknown ones are ignored": ({"WHATEVER": "y", "ENABLE_JIT_EXECUTOR": "1"}, "", 1, (CORES, CORES)),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings(server: Server, case: str) -> None:
    """Instances and parameters set the threads and the mode that a model runs in."""
    parameters, more, mode, threads = SETTINGS[case]
    name = server.load("Mode", [FP], [OUT], parameters=parameters, more=more)
    assert set(server.ask(name, ("y__0",), x__0=LEFT)["y__0"].ravel()) == {mode}
    log = server.said()
    said = set(re.findall(rf"'({name}_0\w*)' has (\d+) intra-op and (\d+) inter-op threads", log))
    assert {(int(intra), int(inter)) for _, intra, inter in said} == {threads}
    assert len(said) == (2 if "count: 2" in more else 1)


TWO = [("x__0", "FP32", [4]), ("x__1", "FP32", [4])]
START = "sequence_batching { control_input { name: 'START' control { kind: CONTROL_SEQUENCE_START fp32_false_true: [0, 1] } } }"
LOADING: dict[str, tuple[str, Any, Any, dict[str, Any], str]] = {
    "too few inputs": ("Subtract", [FP], [OUT], {}, "Invalid argument: unable to load model '{m}', configuration expects 1 inputs, model provides 2"),
    "an index beyond": ("Subtract", [FP, ("x__2", "FP32", [4])], [OUT], {}, "input 'x__2' refers to an input index which doesn't exist. This model has 2 inputs"),
    "an index twice": ("Subtract", [FP, ("z__0", "FP32", [4])], [OUT], {}, "inputs 'x__0' and 'z__0' refer to the same input index 0"),
    "no output": ("Subtract", TWO, [], {}, "Internal: model configuration must contain at least one output, none were specified."),
    "UINT32 input": ("Pair", [("x__0", "UINT32", [4])], [OUT], {}, "Internal: unsupported datatype TYPE_UINT32 for input 'x__0' for model '{m}'"),
    "BF16 output": ("Pair", [FP], [("y__0", "BF16", [4])], {}, "Internal: unsupported datatype TYPE_BF16 for output 'y__0' for model '{m}'"),
    "text of two axes": ("Upper", [("x__0", "STRING", [2])], [("y__0", "STRING", [2])], {}, "Internal: Triton only supports 1 dimensional List of String as input for 'x__0' for model '{m}'"),
    "an int argument": ("Number", TWO, [OUT], {}, "Internal: An input of type 'int' was detected in the model. Only a single input of type Dict(str, Tensor) or input(s) of type Tensor are supported."),
    "optional": ("Subtract", [FP, ("x__1", "FP32?", [4])], [OUT], {}, "Invalid argument: 'optional' is set to true for input 'x__1' while the backend model doesn't support optional input"),
    "a control without a position": ("Subtract", [FP], [OUT], {"more": START}, "Internal: input 'START' does not follow <name>__<index> naming convention."),
    "a boolean": ("Pair", [FP], [OUT], {"parameters": {"INFERENCE_MODE": "maybe"}}, "Invalid argument: failed to convert 'maybe' to boolean"),
    "an integer": ("Pair", [FP], [OUT], {"parameters": {"INTRA_OP_THREAD_COUNT": "two"}}, "Invalid argument: failed to convert 'two' to integral number"),
    "a missing file": ("Pair", [FP], [OUT], {"file": "1/other.pt"}, "Unavailable: unable to find '"),
    "a GPU": ("Pair", [FP], [OUT], {"more": "instance_group { kind: KIND_GPU }"}, "instance group {m}_0 of model {m} has kind KIND_GPU but no GPUs are available"),
}  # fmt: skip


@pytest.mark.parametrize("case", LOADING)
def test_a_load_is_refused(server: Server, case: str) -> None:
    """What NVIDIA's backend refuses at load time is refused, with its words, and what would crash it too."""
    module, inputs, outputs, more, words = LOADING[case]
    with pytest.raises(errors.PipelineError) as refused:
        server.load(module, inputs, outputs, **more)
    assert words.format(m=server.last) in str(refused.value)
    assert f"load failed for model '{server.last}'" in str(refused.value)


ASKING = {
    "another data type": ("Pair", [("y__0", "FP64", [4])], "configuration expects datatype TYPE_FP64 for output 'y__0', model provides TYPE_FP32"),
    "an output beyond": ("Rows", [("y__1", "FP32", [4])], "The output y__1 in the model configuration refers to an output index which doesn't exist. This model has 1 outputs"),
    "a scalar": ("Scalar", [OUT], "output 'y__0' is a scalar which is not supported."),
    "a list of tensors": ("Listed", [OUT], "PyTorch execute failure: output must be of type Tensor, List[str]"),
}  # fmt: skip


@pytest.mark.parametrize("case", ASKING)
def test_a_question_is_refused(server: Server, case: str) -> None:
    """What does not fit the config shows at the first question, with the words of NVIDIA's backend."""
    module, outputs, words = ASKING[case]
    name = server.load(module, [FP], outputs)
    with pytest.raises(errors.PipelineError) as refused:
        server.ask(name, (outputs[0][0],), x__0=LEFT)
    assert words in str(refused.value)


def test_a_models_own_failure_is_told_and_the_next_question_answered(server: Server) -> None:
    """An exception of the model answers its own question only, with its words."""
    name = server.load("Raises", [FP], [OUT])
    with pytest.raises(errors.PipelineError, match=r"PyTorch execute failure: .*negative values are not for me"):
        server.ask(name, ("y__0",), x__0=-LEFT)
    np.testing.assert_array_equal(server.ask(name, ("y__0",), x__0=LEFT)["y__0"], LEFT)


def test_declared_dims_of_outputs_are_not_checked(server: Server) -> None:
    """The shape of an output is the model's, whatever the config says."""
    name = server.load("Pair", [FP], [("y__0", "FP32", [9])])
    assert server.ask(name, ("y__0",), x__0=LEFT)["y__0"].shape == (1, 4)


def test_serving_writes_nothing_into_the_repository(server: Server) -> None:
    """A served model's folder stays as it was written."""
    name = server.load("Pair", [FP], [OUT])
    server.ask(name, ("y__0",), x__0=LEFT)
    found = sorted(path.name for path in (server.models / name).rglob("*"))
    assert found == ["1", "config.pbtxt", "model.pt"]
