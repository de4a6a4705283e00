"""The openvino backend under a real Triton: tensors by name, full batches, parameters, and NVIDIA's own refusals.

The words are those of triton-inference-server/openvino_backend. It reads ONNX too, which these models are.
"""
# ruff: noqa: E501 - a refusal is one line, as Triton says it

from __future__ import annotations

import concurrent.futures
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core import errors
from tests.real import graphs, loading, repository

pytestmark = pytest.mark.real

LEFT = np.array([[1, 2, 3, 4]], np.float32)
RIGHT = np.array([[10, 20, 30, 40]], np.float32)
OPENVINO = 'backend: "openvino" default_model_filename: "model.onnx"'
PADDED = {"ENABLE_BATCH_PADDING": "YES"}
X, Y = ("x", "FP32", [4]), ("y", "FP32", [4])
TWO = [("left", "FP32", [4]), ("right", "FP32", [4])]
ANSWER = [("answer", "FP32", [4])]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[loading.Server]:
    """A Triton without models."""
    root = tmp_path_factory.mktemp("openvino")
    with repository.serving(root) as running:
        yield loading.Server(running, root / "models", platform=OPENVINO, file="1/model.onnx")


def test_tensors_meet_by_name_in_the_configs_types(server: loading.Server) -> None:
    """Tensors are found by name, and have the config's types whatever the model's own are."""
    name = server.load(graphs.subtract, TWO[::-1], ANSWER, parameters=PADDED)
    np.testing.assert_array_equal(server.ask(name, ("answer",), left=LEFT, right=RIGHT)["answer"], LEFT - RIGHT)
    types = [("left", "INT32", [4]), ("right", "FP64", [4])]
    name = server.load(graphs.subtract, types, [("answer", "INT64", [4])], parameters=PADDED)
    answer = server.ask(name, ("answer",), left=LEFT.astype(np.int32), right=RIGHT.astype(np.float64))["answer"]
    assert (str(answer.dtype), answer.tolist()) == ("int64", (LEFT - RIGHT).tolist())


def test_a_dynamic_batch_is_one_inference(server: loading.Server) -> None:
    """Requests that meet in a batch run together, and each gets its own rows back."""
    name = server.load(
        graphs.rows, [X], [Y], parameters=PADDED, more="dynamic_batching { max_queue_delay_microseconds: 300000 }"
    )
    sizes = [1, 2, 1, 3]
    with concurrent.futures.ThreadPoolExecutor(len(sizes)) as pool:
        ask = [pool.submit(server.ask, name, ("y",), x=np.ones((size, 4), np.float32)) for size in sizes]
        answers = [each.result()["y"] for each in ask]
    assert [len(answer) for answer in answers] == sizes
    assert max(float(answer.max()) for answer in answers) > max(sizes)


def test_only_full_batches_without_padding(server: loading.Server) -> None:
    """NVIDIA's backend answers batches of max_batch_size alone unless it may pad them; this one does as much."""
    name = server.load(graphs.subtract, TWO, ANSWER, batch=2)
    with pytest.raises(errors.PipelineError, match="expected requests with batch size '2', got '1'"):
        server.ask(name, ("answer",), left=LEFT, right=RIGHT)
    both = {"left": np.concatenate([LEFT, RIGHT]), "right": np.concatenate([RIGHT, LEFT])}
    np.testing.assert_array_equal(server.ask(name, ("answer",), **both)["answer"], both["left"] - both["right"])


def test_each_request_without_a_batch_axis_has_its_own_answer(server: loading.Server) -> None:
    """Without batching a run for each request, whose memory the next one does not take; the config can reshape."""
    name = server.load(
        lambda path: graphs.subtract(path, shape=["n"], out=["n"]),
        [("left", "FP32", [-1]), ("right", "FP32", [-1])],
        [("answer", "FP32", [-1])],
        batch=0,
    )
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        ask = [pool.submit(server.ask, name, ("answer",), left=LEFT[0] * n, right=RIGHT[0]) for n in range(4)]
        for n, each in enumerate(ask):
            np.testing.assert_array_equal(each.result()["answer"], LEFT[0] * n - RIGHT[0])
    name = server.load(
        lambda path: graphs.subtract(path, shape=["n"], out=["n"]),
        [("left", "FP32", [3]), ("right", "FP32", [3])],
        [("answer", "FP32", [3])],
        batch=0,
        parameters={"RESHAPE_IO_LAYERS": "yes"},
    )
    assert server.ask(name, ("answer",), left=LEFT[0, :3], right=RIGHT[0, :3])["answer"].tolist() == [-9, -18, -27]


CORES = len(os.sched_getaffinity(0))
SETTINGS: dict[str, tuple[dict[str, str], str, int]] = {
    "all cores for one instance": ({}, "", CORES),
    "instances share the cores": ({}, "instance_group { kind: KIND_CPU count: 2 }", max(1, CORES // 2)),
    "what it knows": ({"INFERENCE_NUM_THREADS": "1", "COMPILATION_NUM_THREADS": "1", "NUM_STREAMS": "AUTO", "PERFORMANCE_HINT": "latency", "WHATEVER": "y"}, "", 1),
}  # fmt: skip


@pytest.mark.parametrize("case", SETTINGS)
def test_settings(server: loading.Server, case: str) -> None:
    """Instances and parameters set the model up; unknown parameters are ignored."""
    parameters, more, threads = SETTINGS[case]
    name = server.load(graphs.subtract, TWO, ANSWER, parameters={**PADDED, **parameters}, more=more)
    np.testing.assert_array_equal(server.ask(name, ("answer",), left=LEFT, right=RIGHT)["answer"], LEFT - RIGHT)
    said = re.findall(rf"'{name}_0\w*' has (\d+) threads", server.said())
    assert {int(number) for number in said} == {threads}


LOADING: dict[str, tuple[Callable[[Path], None], Any, Any, dict[str, Any], str]] = {
    "too few inputs": (graphs.subtract, TWO[:1], ANSWER, {}, "Invalid argument: unable to load model '{m}', configuration expects 1 inputs, model provides 2"),
    "another input": (graphs.subtract, [TWO[0], X], ANSWER, {}, "Invalid argument: unexpected inference input 'x', allowed inputs are: left, right"),
    "another output": (graphs.subtract, TWO, [Y], {}, "Invalid argument: unexpected inference output 'y', allowed outputs are: answer"),
    "a type it has not": (graphs.subtract, [TWO[0], ("right", "BF16", [4])], ANSWER, {}, "Internal: unsupported datatype TYPE_BF16 for input 'right' for model '{m}'"),
    "another size": (graphs.subtract, [TWO[0], ("right", "FP32", [5])], ANSWER, {}, "model '{m}', tensor 'right': the model expects 2 dimensions (shape [-1,4])"),
    "a number": (graphs.subtract, TWO, ANSWER, {"parameters": {"INFERENCE_NUM_THREADS": "-1"}}, "Invalid argument: expected the parameter 'INFERENCE_NUM_THREADS' to be a non-negative number, got -1"),
    "streams": (graphs.subtract, TWO, ANSWER, {"parameters": {"NUM_STREAMS": "many"}}, "expected the parameter 'NUM_STREAMS' to be either AUTO/NUMA/<int_value>, got many"),
    "a hint": (graphs.subtract, TWO, ANSWER, {"parameters": {"PERFORMANCE_HINT": "speed"}}, "expected the parameter 'PERFORMANCE_HINT' to be LATENCY/THROUGHPUT/CUMULATIVE_THROUGHPUT, got speed"),
    "bfloat16": (graphs.subtract, TWO, ANSWER, {"parameters": {"HINT_BF16": "no"}}, "expected the parameter 'HINT_BF16' to be YES, got no"),
    "another kind": (graphs.subtract, TWO, ANSWER, {"more": "instance_group { kind: KIND_MODEL }"}, "unable to load model '{m}', Triton openVINO backend supports only CPU device"),
    "no model": (graphs.nonsense, TWO, ANSWER, {}, "Internal: openvino error in loading model: "),
    "a missing file": (graphs.subtract, TWO, ANSWER, {"file": "1/other.onnx"}, "Unavailable: unable to find '"),
}  # fmt: skip


@pytest.mark.parametrize("case", LOADING)
def test_a_load_is_refused(server: loading.Server, case: str) -> None:
    """What NVIDIA's backend refuses at load time is refused, with its words."""
    write, inputs, outputs, more, words = LOADING[case]
    with pytest.raises(errors.PipelineError) as refused:
        server.load(write, inputs, outputs, **more)
    assert words.format(m=server.last) in str(refused.value)
