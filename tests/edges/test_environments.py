"""The environments: which versions shape an artifact, and what is said where a format's libraries are missing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import msgspec
import pytest

from pipeline.core import errors, platforms
from pipeline.edges import environments

HOME = Path(__file__).parents[2]
ABSENT = msgspec.structs.replace(platforms.ONNX, serving=("no-such-library",))


def test_only_what_shapes_a_format_is_in_its_toolchain() -> None:
    """TorchScript's toolchain names nothing of ONNX, and ONNX's not the runtime, which shapes no byte."""
    torch, onnx = (environments.toolchain(HOME, each) for each in (platforms.TORCHSCRIPT, platforms.ONNX))
    assert torch.keys() == {"python", "numpy", "safetensors", "tokenizers", "torch", "transformers"}
    assert onnx.keys() - torch.keys() == {"onnx", "onnx-ir", "onnxscript"}
    assert torch.items() <= onnx.items()


def test_missing_pins_are_told(tmp_path: Path) -> None:
    """A project that does not pin a format's libraries cannot export to it, and is told which file is missing."""
    (tmp_path / "requirements").mkdir()
    shutil.copy(HOME / "requirements" / "torch.txt", tmp_path / "requirements")
    environments.toolchain(tmp_path)
    with pytest.raises(errors.Unfit, match=r"onnx\.txt"):
        environments.toolchain(tmp_path, platforms.ONNX)


def test_missing_library_names_the_command() -> None:
    """An environment without a format's libraries is unfit, and the hint is the command that adds them."""
    environments.check(Path(sys.executable), [platforms.TORCHSCRIPT])
    with pytest.raises(errors.Unfit, match="has no no-such-library, which onnx needs") as caught:
        environments.check(Path(sys.executable), [platforms.TORCHSCRIPT, ABSENT])
    assert "`nox -s environment -- onnx`" in caught.value.hint
