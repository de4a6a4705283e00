"""Parts of artifacts: where two builds differ, by the name that a person knows."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import parts


def archive(members: Mapping[str, bytes], *, comment: bytes = b"") -> bytes:
    """A zip archive with these members, in their order."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.comment = comment
        for name, data in members.items():
            opened.writestr(zipfile.ZipInfo(name), data)
    return made.getvalue()


CODE = {"model/code/a.py": b"x = 1\ny = 2\n", "model/data/0": bytes(100), "model/data.pkl": b"\x80\x02"}


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (CODE, []),
        ({**CODE, "model/code/a.py": b"x = 1\ny = 3\n"}, ["member model/code/a.py differs: line 2 was 'y = 2', is "]),
        ({**CODE, "model/code/a.py": b"x = 1\n"}, ["member model/code/a.py differs: line 2 was 'y = 2', is not there"]),
        (
            {**CODE, "model/data/0": bytes(40) + b"\xff" + bytes(59)},
            ["member model/data/0 differs: 100 bytes were, 100 are, from byte 40 on they differ"],
        ),
        ({**CODE, "model/more": b""}, ["member model/more is in the rebuild alone"]),
        (dict(list(CODE.items())[1:]), ["member model/code/a.py is not in the rebuild"]),
        (dict(reversed(CODE.items())), ["its parts are equal, in another order"]),
    ],
    ids=["nothing", "a line", "a line gone", "a byte", "one more", "one less", "order"],
)
def test_members_of_an_archive(other: Mapping[str, bytes], told: list[str]) -> None:
    """Two archives differ by members, and those by a line or by a byte."""
    found = parts.differences("model.pt", archive(CODE), archive(other))
    assert len(found) == len(told)
    assert all(line.startswith(f"model.pt: {each}") for line, each in zip(found, told, strict=True))


def test_what_is_around_the_members() -> None:
    """Archives whose members are equal differ all the same where their bytes do."""
    found = parts.differences("model.pt", archive(CODE), archive(CODE, comment=b"a clock"))
    assert found == ("model.pt: its parts are equal, the bytes around them differ",)


def graph(*, kind: str = "Relu", weight: float = 1.0, opset: int = 17, name: str = "act") -> bytes:
    """A model of two nodes."""
    helper = onnx.helper
    tensor = onnx.TensorProto.FLOAT
    made = helper.make_model(
        helper.make_graph(
            [helper.make_node("Mul", ["x", "w"], ["m"], name="mul"), helper.make_node(kind, ["m"], ["y"], name=name)],
            "g",
            [helper.make_tensor_value_info("x", tensor, [1])],
            [helper.make_tensor_value_info("y", tensor, [1])],
            [onnx.numpy_helper.from_array(np.array([weight], np.float32), "w")],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
    )
    data: bytes = made.SerializeToString()
    return data


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (graph(), []),
        (graph(weight=2.0), ["weight w differs: "]),
        (graph(opset=18), ["opset of ai.onnx differs: line 1 was '17', is '18'"]),
        (graph(kind="Neg"), ["node 1 Relu `act` is not in the rebuild", "node 1 Neg `act` is in the rebuild alone"]),
    ],
    ids=["nothing", "a weight", "an opset", "a node"],
)
def test_nodes_of_a_graph(other: bytes, told: list[str]) -> None:
    """Two ONNX models differ by nodes, weights and versions."""
    found = parts.differences("model.onnx", graph(), other)
    assert [line.removeprefix("model.onnx: ")[: len(each)] for line, each in zip(found, told, strict=True)] == told


def test_few_lines_are_told() -> None:
    """Of many differences the first are told, and the others counted."""
    before, after = ({f"m/{at}": bytes([at + more]) for at in range(20)} for more in (0, 1))
    found = parts.differences("model.pt", archive(before), archive(after))
    assert len(found) == parts.SHOWN + 1
    assert found[-1] == "model.pt: and 15 more differences"


@given(st.binary(max_size=80), st.binary(max_size=80), st.sampled_from(["model.pt", "model.onnx", "model.xml"]))
def test_any_bytes(first: bytes, second: bytes, name: str) -> None:
    """Whatever the bytes are, a difference is told where there is one."""
    for prefix in (b"", b"PK"):
        found = parts.differences(name, prefix + first, prefix + second)
        assert bool(found) or first == second
