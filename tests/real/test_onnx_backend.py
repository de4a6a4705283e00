"""The onnxruntime backend under a real Triton: tensors by name, parameters, and refusals in NVIDIA's own words.

The words are those of triton-inference-server/onnxruntime_backend, so that a repository that serves here serves there,
and one that is refused there is refused here.
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
from onnx import TensorProto

from pipeline.core import errors
from tests.real import graphs, loading, repository

pytestmark = pytest.mark.real

LEFT = np.array([[1, 2, 3, 4]], np.float32)
RIGHT = np.array([[10, 20, 30, 40]], np.float32)
ONNX = 'platform: "onnxruntime_onnx"'
X, Y = ("x", "FP32", [4]), ("y", "FP32", [4])
TWO = [("left", "FP32", [4]), ("right", "FP32", [4])]
ANSWER = [("answer", "FP32", [4])]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[loading.Server]:
    """A Triton without models."""
    root = tmp_path_factory.mktemp("onnxruntime")
    with repository.serving(root) as running:
        yield loading.Server(running, root / "models", platform=ONNX, file="1/model.onnx")


def test_tensors_meet_by_name(server: loading.Server) -> None:
    """Inputs and outputs are found by name, whatever the config's order, and answers come sorted by name."""
    name = server.load(graphs.subtract, TWO[::-1], ANSWER)
    np.testing.assert_array_equal(server.ask(name, ("answer",), left=LEFT, right=RIGHT)["answer"], LEFT - RIGHT)
    both = server.load(graphs.pair, [X], [("b", "FP32", [4]), ("a", "FP32", [4])], platform='backend: "onnxruntime"')
    found = server.ask(both, ("b", "a"), x=LEFT)
    np.testing.assert_array_equal([found["a"], found["b"]], [LEFT + 2, LEFT + 1])
    one = server.load(graphs.pair, [X], [("a", "FP32", [4])])
    np.testing.assert_array_equal(server.ask(one, ("a",), x=LEFT)["a"], LEFT + 2)


def test_a_dynamic_batch_is_one_run(server: loading.Server) -> None:
    """Requests that meet in a batch run together, and each gets its own rows back."""
    name = server.load(
        graphs.rows,
        [X],
        [Y],
        more="dynamic_batching { max_queue_delay_microseconds: 300000 } instance_group { count: 1 }",
    )
    sizes = [1, 2, 1, 3]
    with concurrent.futures.ThreadPoolExecutor(len(sizes)) as pool:
        ask = [pool.submit(server.ask, name, ("y",), x=np.ones((size, 4), np.float32)) for size in sizes]
        answers = [each.result()["y"] for each in ask]
    assert [len(answer) for answer in answers] == sizes
    assert max(float(answer.max()) for answer in answers) > max(sizes)
    counts = server.client.statistics(name)["model_stats"][0]
    assert counts["execution_count"] < counts["inference_count"]


def test_every_data_type_passes_unchanged(server: loading.Server) -> None:
    """Each data type that the backend takes goes in and out without a change, twice over."""
    kinds: dict[str, tuple[int, Any]] = {
        "BOOL": (TensorProto.BOOL, np.array([[True, False]])),
        "UINT8": (TensorProto.UINT8, np.array([[0, 255]], np.uint8)),
        "UINT16": (TensorProto.UINT16, np.array([[0, 65535]], np.uint16)),
        "UINT32": (TensorProto.UINT32, np.array([[0, 2**32 - 1]], np.uint32)),
        "UINT64": (TensorProto.UINT64, np.array([[0, 2**64 - 1]], np.uint64)),
        "INT8": (TensorProto.INT8, np.array([[-128, 127]], np.int8)),
        "INT16": (TensorProto.INT16, np.array([[-32768, 32767]], np.int16)),
        "INT32": (TensorProto.INT32, np.array([[-(2**31), 2**31 - 1]], np.int32)),
        "INT64": (TensorProto.INT64, np.array([[-(2**63), 2**63 - 1]], np.int64)),
        "FP16": (TensorProto.FLOAT16, np.array([[-0.5, 65504]], np.float16)),
        "FP32": (TensorProto.FLOAT, np.array([[-0.0, np.inf]], np.float32)),
        "FP64": (TensorProto.DOUBLE, np.array([[1e-310, np.nan]], np.float64)),
        "STRING": (TensorProto.STRING, np.array([[b"", "caf\u00e9".encode()]], np.object_)),
    }
    inputs = [(kind, kind, [2]) for kind in kinds]
    outputs = [(f"out_{kind}", kind, [2]) for kind in kinds]
    name = server.load(
        lambda path: graphs.identity(path, {kind: number for kind, (number, _) in kinds.items()}), inputs, outputs
    )
    for _ in range(2):
        answer = server.ask(
            name, tuple(output[0] for output in outputs), **{kind: array for kind, (_, array) in kinds.items()}
        )
        for kind, (_, array) in kinds.items():
            got = answer[f"out_{kind}"]
            assert got.tolist() == array.tolist() if kind == "STRING" else got.tobytes() == array.tobytes()


def test_no_batch_axis_ragged_rows_scalars_and_optional_inputs(server: loading.Server) -> None:
    """What Triton's config can say beside a batch of equal rows is answered as NVIDIA's backend answers it."""
    name = server.load(graphs.flat, [("x", "FP32", [-1])], [("sum", "FP32", [1]), ("twice", "FP32", [-1])], batch=0)
    found = server.ask(name, ("sum", "twice"), x=LEFT[0])
    assert (found["sum"].tolist(), found["twice"].tolist()) == ([10], [2, 4, 6, 8])
    optional = [("x", "FP32", [4]), ("step", "FP32?", [1])]
    name = server.load(graphs.optional, optional, [Y], batch=0)
    assert server.ask(name, ("y",), x=LEFT[0])["y"].tolist() == [11, 12, 13, 14]
    assert server.ask(name, ("y",), x=LEFT[0], step=np.array([1], np.float32))["y"].tolist() == [2, 3, 4, 5]
    more = 'input { name: "x" data_type: TYPE_FP32 dims: -1 allow_ragged_batch: true }'
    name = server.load(graphs.flat, [], [("twice", "FP32", [-1])], batch=0, more=more)
    assert server.ask(name, ("twice",), x=LEFT[0])["twice"].tolist() == [2, 4, 6, 8]


def test_the_file_can_have_another_name(server: loading.Server) -> None:
    """default_model_filename names the file, or a folder that has it."""
    name = server.load(
        graphs.pair,
        [X],
        [("a", "FP32", [4])],
        file="1/other.onnx",
        more='default_model_filename: "other.onnx"',
    )
    np.testing.assert_array_equal(server.ask(name, ("a",), x=LEFT)["a"], LEFT + 2)
    name = server.load(
        graphs.pair, [X], [("a", "FP32", [4])], file="1/folder/model.onnx", more='default_model_filename: "folder"'
    )
    np.testing.assert_array_equal(server.ask(name, ("a",), x=LEFT)["a"], LEFT + 2)


CORES = len(os.sched_getaffinity(0))
SETTINGS: dict[str, tuple[dict[str, str], str, tuple[int, int]]] = {
    "two instances by Triton's own rule": ({}, "", (max(1, CORES // 2), max(1, CORES // 2))),
    "all cores for one instance": ({}, "instance_group { count: 1 }", (CORES, CORES)),
    "threads are asked for": ({"intra_op_thread_count": "3", "inter_op_thread_count": "4", "execution_mode": "1"}, "", (3, 4)),
    "the rest of what it knows": ({"enable_mem_arena": "on", "enable_mem_pattern": "0", "memory.enable_memory_arena_shrinkage": "cpu:0", "session.use_device_allocator_for_initializers": "1", "share_session_between_instances": "true", "WHATEVER": "y"}, "instance_group { count: 1 } optimization { graph { level: 2 } }", (CORES, CORES)),
}  # fmt: skip


@pytest.mark.parametrize("case", SETTINGS)
def test_settings(server: loading.Server, case: str) -> None:
    """Instances and parameters set the session up; unknown parameters are ignored."""
    parameters, more, threads = SETTINGS[case]
    name = server.load(graphs.pair, [X], [("a", "FP32", [4])], parameters=parameters, more=more)
    np.testing.assert_array_equal(server.ask(name, ("a",), x=LEFT)["a"], LEFT + 2)
    log = server.said()
    said = set(re.findall(rf"'({name}_\d\w*)' has (\d+) intra-op and (\d+) inter-op threads", log))
    assert {(int(intra), int(inter)) for _, intra, inter in said} == {threads}
    assert len(said) == (1 if "count: 1" in more else 2)


START = "sequence_batching { control_input { name: 'START' control { kind: CONTROL_SEQUENCE_START fp32_false_true: [0, 1] } } }"
STATE = "sequence_batching { state { input_name: 'left' output_name: 'answer' data_type: TYPE_FP32 dims: 4 } }"
LOADING: dict[str, tuple[Callable[[Path], None], Any, Any, dict[str, Any], str]] = {
    "too few inputs": (graphs.subtract, TWO[:1], ANSWER, {}, "Invalid argument: unable to load model '{m}', configuration expects 1 inputs, model provides 2"),
    "another input": (graphs.subtract, [TWO[0], X], ANSWER, {}, "Invalid argument: unexpected inference input 'x', allowed inputs are: left, right"),
    "another output": (graphs.subtract, TWO, [Y], {}, "Invalid argument: unexpected inference output 'y', allowed outputs are: answer"),
    "another type in": (graphs.subtract, [TWO[0], ("right", "FP16", [4])], ANSWER, {}, "Invalid argument: unable to load model '{m}', configuration expects datatype TYPE_FP16 for input 'right', model provides TYPE_FP32"),
    "another type out": (graphs.subtract, TWO, [("answer", "FP64", [4])], {}, "configuration expects datatype TYPE_FP64 for output 'answer', model provides TYPE_FP32"),
    "a type it has not": (graphs.subtract, [TWO[0], ("right", "BF16", [4])], ANSWER, {}, "Internal: unsupported datatype TYPE_BF16 for input 'right' for model '{m}'"),
    "another size": (graphs.subtract, [TWO[0], ("right", "FP32", [5])], ANSWER, {}, "Invalid argument: model '{m}', tensor 'right': the model expects 2 dimensions (shape [-1,4]) but the model configuration specifies 2 dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, making complete shape [-1,5])"),
    "an output of any size": (graphs.subtract, TWO, [("answer", "FP32", [-1])], {}, "the model expects 2 dimensions (shape [-1,4]) but the model configuration specifies 2 dimensions"),
    "another rank": (graphs.subtract, TWO, ANSWER, {"batch": 0}, "the model expects 2 dimensions (shape [-1,4]) but the model configuration specifies 1 dimensions (shape [4])"),
    "a fixed batch": (lambda path: graphs.subtract(path, shape=[2, 4], out=[2, 4]), TWO, ANSWER, {}, "for the model to support batching the shape should have at least 1 dimension and the first dimension must be -1; but shape expected by the model is [2,4]"),
    "a sequence": (graphs.sequence, [X], [Y], {}, "Unsupported: Unsupported ONNX Type 'ONNX_TYPE_SEQUENCE' for I/O 'y', expected 'ONNX_TYPE_TENSOR'."),
    "optional in a batch": (graphs.subtract, [*TWO, ("more", "FP32?", [4])], ANSWER, {}, "optional input 'more' is not supported for models that support batching"),
    "a control that it has not": (graphs.subtract, TWO, ANSWER, {"more": START}, "Internal: configuration specified sequence control 'START', but model does not provide that input"),
    "implicit state": (graphs.subtract, TWO[1:], ANSWER, {"more": STATE}, "Unsupported: unable to load model '{m}', `sequence_batching.state` is not served without NVIDIA's own backend"),
    "an execution mode": (graphs.subtract, TWO, ANSWER, {"parameters": {"execution_mode": "2"}}, "Expected values for  execution_mode are 0 or 1 but got 2 ."),
    "an integer": (graphs.subtract, TWO, ANSWER, {"parameters": {"intra_op_thread_count": "two"}}, "Invalid argument: failed to convert 'two' to integral number"),
    "a boolean": (graphs.subtract, TWO, ANSWER, {"parameters": {"enable_mem_arena": "maybe"}}, "Invalid argument: failed to convert 'maybe' to boolean"),
    "an accelerator": (graphs.subtract, TWO, ANSWER, {"more": "optimization { execution_accelerators { cpu_execution_accelerator { name: 'openvino' } } }"}, "unknown Execution Accelerator 'openvino' is requested"),
    "no ONNX": (graphs.nonsense, TWO, ANSWER, {}, "Internal: onnx runtime error 7: "),
    "a missing file": (graphs.subtract, TWO, ANSWER, {"file": "1/other.onnx"}, "Unavailable: unable to find '"),
}  # fmt: skip


@pytest.mark.parametrize("case", LOADING)
def test_a_load_is_refused(server: loading.Server, case: str) -> None:
    """What NVIDIA's backend refuses at load time is refused, with its words."""
    write, inputs, outputs, more, words = LOADING[case]
    with pytest.raises(errors.PipelineError) as refused:
        server.load(write, inputs, outputs, **more)
    assert words.format(m=server.last) in str(refused.value)


def test_a_runs_own_failure_is_told_and_the_next_question_answered(server: loading.Server) -> None:
    """An error of ONNX Runtime answers its own question only, with its words."""
    name = server.load(graphs.gather, [("x", "INT64", [4])], [Y])
    with pytest.raises(errors.PipelineError, match=r"onnx runtime error \d+: .*indices element out of data bounds"):
        server.ask(name, ("y",), x=np.array([[0, 1, 2, 9]]))
    assert server.ask(name, ("y",), x=np.array([[3, 2, 1, 0]]))["y"].tolist() == [[3, 2, 1, 0]]
