"""What an image tells of itself: asked shut in, read out of whatever else is said, and put before the table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core import compat, formats, image, image_facts, matrix, platforms
from pipeline.edges import facts

ROWS = matrix.parse(facts.releases())
INSIDE = image_facts.Inside(
    python="3.10.12",
    ubuntu="22.04",
    backends={"onnxruntime": "1.15.1", "openvino_2022_1": "", "python": "", "pytorch": "", "tensorflow2": ""},
    aoti=False,
)
VARIABLES = {"CUDA_VERSION": "12.2.1.005", "TRT_VERSION": "8.6.1.6", "TRITON_SERVER_VERSION": "2.37.0"}


def told(inside: image_facts.Inside | None = INSIDE, **variables: str) -> image_facts.Told:
    """What an image has told."""
    return image_facts.Told(id="sha256:1", variables=variables or VARIABLES, inside=inside)


def row(reference: str, answer: image_facts.Told) -> matrix.Row:
    """The row of an image that has told this."""
    return image_facts.row(image.parse(reference), ROWS, answer)


def test_the_question_is_shut_in() -> None:
    """Its container has no network, no folder, no GPU and no right, cannot write, and may take little."""
    made = image_facts.question("name", "a:1", "sha256:1")
    assert (made.network, made.mounts, made.ports, made.gpus) == ("none", (), (), None)
    assert (made.cap_drop, made.cap_add, made.no_new_privileges, made.read_only) == (("ALL",), (), True, True)
    assert made.user == "65534:65534"
    assert made.environment["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert 0 < made.memory <= 1 << 30
    assert 0 < made.pids <= 256
    assert made.image_id == "sha256:1"


def ask(root: Path) -> image_facts.Inside | None:
    """What the question's program says of backends that lie in a folder."""
    program = image_facts.question("", "", "").command[-1].replace("/opt/tritonserver/backends", str(root))
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    return image_facts.answer(done.stdout)


def test_backends_and_their_versions_are_seen(tmp_path: Path) -> None:
    """Libraries tell their version by their name, Python backends by their package, PyTorch's by what it contains."""
    for path in (
        "onnxruntime/libonnxruntime.so.1.15.1",
        "onnxruntime/libonnxruntime.so.1",
        "openvino/libopenvino.so.2023.0.0",
        "openvino/libopenvino_c.so.2.0.0",
        "dali/libtriton_dali.so",
        "pytest/model.py",
        "nothing/model.py",
    ):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "pytorch").mkdir()
    (tmp_path / "pytorch" / "libtriton_pytorch.so").write_bytes(b"\x7fELF\0torch_aoti\0")
    found = ask(tmp_path)
    assert found
    assert found.backends == {
        "dali": "",
        "nothing": "",
        "onnxruntime": "1.15.1",
        "openvino": "2023.0.0",
        "pytest": pytest.__version__,
        "pytorch": "",
    }
    assert found.aoti is True
    assert found.python == sys.version.split()[0]
    (tmp_path / "pytorch" / "libtriton_pytorch.so").write_bytes(b"\x7fELF\0")
    again = ask(tmp_path)
    assert again
    assert again.aoti is False


def test_an_image_of_something_else_has_no_backends(tmp_path: Path) -> None:
    """Where Triton is not installed there are none, and nobody can say what PyTorch's would load."""
    found = ask(tmp_path / "none")
    assert found
    assert (found.backends, found.aoti) == ({}, None)


def test_the_answer_is_found_among_other_words() -> None:
    """What an image's own start prints is not taken for the answer."""
    answer = 'triton-pipeline:{"python":"3.8.1","ubuntu":"","backends":{},"aoti":null}'
    found = image_facts.answer(f'\n=== Triton ===\n{{"python": "2.7"}}\n{answer}\nbye\n')
    assert found == image_facts.Inside(python="3.8.1", ubuntu="", backends={}, aoti=None)


@pytest.mark.parametrize(
    "words", ["", "python3: not found", "triton-pipeline:{", 'triton-pipeline:{"python": 3}', "\0"]
)
def test_no_answer_is_none(words: str) -> None:
    """What is no answer is none, whatever it is."""
    assert image_facts.answer(words) is None


def test_it_beats_the_table() -> None:
    """For a plain release of NVIDIA's what is told stands in place of the table's cell, the rest stays."""
    found = row(f"{image.TRITON}:23.08-py3", told())
    table = matrix.find(ROWS, "23.08")
    assert table
    assert (found.tag, found.cuda, found.python, found.tensorflow_backend) == ("23.08", "12.2.1.005", "3.10.12", "yes")
    assert (found.onnxruntime, found.torch_aoti, found.tensorrt) == ("1.15.1", "no", "8.6.1.6")
    assert (found.pytorch, found.openvino) == (table.pytorch, table.openvino)
    assert "pytorch" not in found.probed
    assert matrix.source(found, "cuda") == "the image itself"


@pytest.mark.parametrize(
    "reference",
    [
        "mine:1",
        f"{image.TRITON}@sha256:{'0' * 64}",
        f"{image.TRITON}:23.08-vllm-python-py3",
        f"{image.TRITON}:27.01-py3",
    ],
)
def test_of_other_images_only_what_they_tell_is_known(reference: str) -> None:
    """An image that the table does not describe has the cells that it has told, and no other."""
    found = row(reference, told())
    assert found.pytorch is None
    assert found.cuda == "12.2.1.005"
    assert found.backends == tuple(INSIDE.backends)


def test_words_that_are_no_versions_tell_nothing() -> None:
    """A variable with anything but a version in it leaves the table's cell as it is."""
    found = row(f"{image.TRITON}:23.08-py3", told(None, CUDA_VERSION="\x1b[2J", TRT_VERSION=""))
    assert found == matrix.find(ROWS, "23.08")


@pytest.mark.parametrize(
    ("kind", "backends", "missing"),
    [
        ("torchscript", ["pytorch"], False),
        ("torchscript", ["python"], True),
        ("openvino", ["openvino_2022_1"], False),
        ("tensorflow", ["tensorflow2"], False),
        ("tensorrt", ["tensorrtllm"], True),
        ("python", [], True),
    ],
)
def test_a_backend_that_is_not_there(kind: platforms.Format, backends: list[str], missing: bool) -> None:  # noqa: FBT001
    """An image that was looked into and lacks the format's backend is an error, whatever the table says."""
    inside = image_facts.Inside(python="3.10.1", ubuntu="", backends=dict.fromkeys(backends, ""), aoti=None)
    wanted = compat.Wanted(artifacts=(formats.Artifact(format=kind, operators=()),))
    text = f"{image.TRITON}:23.08-py3"
    found = compat.judge(text, ROWS, wanted, probed=row(text, told(inside)))
    assert ("backend-missing" in {each.rule for each in found}) == missing


def test_an_image_that_has_told_is_not_unknown() -> None:
    """What is still unknown of it is said, and no more."""
    (found,) = compat.judge("mine:1", ROWS, compat.Wanted(), probed=row("mine:1", told()))
    assert found.rule == "image-unknown"
    assert "but what it tells of itself" in found.message
