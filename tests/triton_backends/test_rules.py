"""How the backend matches tensors, over plain data: the same rules run under a real Triton in tests/real."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.triton_backends import cores, refusals
from pipeline.triton_backends.pytorch import parameters, rules

TENSOR = "TensorType"


def _config(inputs: tuple[str, ...] = ("x",), outputs: tuple[str, ...] = ("y",), **more: Any) -> dict[str, Any]:
    def tensors(names: tuple[str, ...]) -> list[dict[str, Any]]:
        return [{"name": name, "data_type": "TYPE_FP32", "dims": [4]} for name in names]

    return {"name": "m", "max_batch_size": 8, "input": tensors(inputs), "output": tensors(outputs), **more}


def _arguments(*names: str) -> list[rules.Argument]:
    return [rules.Argument(name, TENSOR, "Tensor") for name in names]


MATCHES = {
    ("b", "a"): [1, 0],
    ("a", "c"): [0, 1],
    ("any__1", "other__0"): [1, 0],
    ("a__01", "b__0"): [1, 0],
    ("a__", "b__1"): [0, 1],
    ("a__1__0", "b__0"): [0, 1],
    ("x__1", "y__-1"): [0, 1],
    ("q", "p"): [0, 1],
}


@pytest.mark.parametrize("names", MATCHES)
def test_positions_of_inputs(names: tuple[str, str]) -> None:
    """Names of arguments first, then the integer after the first double underscore, then the config's order."""
    found = rules.inputs(_config(names), _arguments("a", "b"), [])
    assert [tensor.position for tensor in found.tensors] == MATCHES[names]


@given(st.permutations(range(5)), st.text(st.characters(codec="ascii", categories=["Ll"]), max_size=3))
def test_the_integer_counts_whatever_the_prefix_and_order(order: list[int], prefix: str) -> None:
    """Rule 2 gives each input the position in its name."""
    found = rules.inputs(_config(tuple(f"{prefix}__{at}" for at in order)), _arguments(*"abcde"), [])
    assert [tensor.position for tensor in found.tensors] == order


def test_only_a_suffix_that_is_no_integer_is_warned_of() -> None:
    """Rule 3 is silent for a name without a suffix."""
    silent: list[str] = []
    rules.inputs(_config(("q", "p")), _arguments("a", "b"), silent)
    rules.outputs(_config(outputs=("q", "p")), silent)
    assert not silent
    warned: list[str] = []
    rules.inputs(_config(("q__x", "p__0")), _arguments("a", "b"), warned)
    rules.outputs(_config(outputs=("q__x",)), warned)
    assert [line.split("'")[0] for line in warned] == ["input ", "output "]


def test_controls_count_as_inputs() -> None:
    """The tensors of a sequence batcher have the position in their names, and count."""
    control = {"name": "START__1", "control": [{"kind": "CONTROL_SEQUENCE_START"}]}
    found = rules.inputs(_config(sequence_batching={"control_input": [control]}), _arguments("x", "start"), [])
    assert [(tensor.name, tensor.position) for tensor in found.tensors] == [("x", 0), ("START__1", 1)]


def test_several_dictionaries_are_refused() -> None:
    """Only one Dict[str, Tensor] may be there, and alone."""
    two = [rules.Argument("a", "DictType", "Dict(str, Tensor)"), rules.Argument("b", "DictType", "Dict(str, Tensor)")]
    with pytest.raises(refusals.Refused, match="Multiple inputs of kind DictType were detected"):
        rules.inputs(_config(("a", "b")), two, [])


@pytest.mark.parametrize("text", ["true", "TRUE", "On", "1", "false", "oFF", "0"])
def test_booleans(text: str) -> None:
    """Six words are booleans, in any case."""
    found = parameters.parse({"parameters": {"INFERENCE_MODE": {"string_value": text}}})
    assert found.inference_mode is (text.lower() in {"true", "on", "1"})


@pytest.mark.parametrize("text", ["", "yes", "2", " true"])
def test_other_words_are_no_booleans(text: str) -> None:
    """Anything else is refused, known parameters only."""
    with pytest.raises(refusals.Refused, match="to boolean"):
        parameters.parse({"parameters": {"ENABLE_JIT_PROFILING": {"string_value": text}}})
    parameters.parse({"parameters": {"MY_OWN": {"string_value": text}}})


@pytest.mark.parametrize(("text", "count"), {"2": 2, " +3": 3, "4 threads": 4, "0": None, "-1": None}.items())
def test_counts(text: str, count: int | None) -> None:
    """A count is read as C does, and means nothing below 1."""
    assert parameters.parse({"parameters": {"INTER_OP_THREAD_COUNT": {"string_value": text}}}).inter_op == count


@pytest.mark.parametrize("text", ["", "two", "x1", "99999999999"])
def test_other_words_are_no_counts(text: str) -> None:
    """What std::stoi would throw for is refused."""
    with pytest.raises(refusals.Refused, match="to integral number"):
        parameters.parse({"parameters": {"INTRA_OP_THREAD_COUNT": {"string_value": text}}})


@pytest.mark.parametrize(
    ("groups", "available", "threads"),
    [([], 4, 4), ([2], 4, 2), ([1, 2], 4, 1), ([8], 4, 1), ([3], 8, 2)],
)
def test_instances_share_the_cores(groups: list[int], available: int, threads: int) -> None:
    """The threads of all instances together are never more than the cores, and never none."""
    config = {"instance_group": [{"count": count, "kind": "KIND_CPU"} for count in groups]}
    assert cores.threads(config, available) == threads
