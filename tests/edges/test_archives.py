"""TorchScript archives: their operators are read without torch, and what is no archive is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from pipeline.core import errors
from pipeline.edges import archives


def archive(path: Path, entries: dict[str, str]) -> Path:
    """An archive with these entries."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in entries.items():
            made.writestr(name, text)
    return path


def test_operators_of_all_code_are_found(tmp_path: Path) -> None:
    """Every file of code is read, and nothing else: constants and tensors are none."""
    made = archive(
        tmp_path / "model.pt",
        {
            "model/code/__torch__.py": "_0 = torch.rms_norm(x, [4], w)",
            "model/code/__torch__/torch/nn.py": "return torch.scaled_dot_product_attention(q, k, v)",
            "model/data/0": "torch.conv2d(",
            "model/code/__torch__.py.debug_pkl": "torch.linear(",
        },
    )
    assert archives.operators(made) == ("rms_norm", "scaled_dot_product_attention")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x80\x02pickle"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    """A pickle, a cut file or nothing is no archive, and a hint says what is."""
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(errors.PipelineError, match="could not be read") as caught:
        archives.operators(path)
    assert caught.value.hint


def test_an_archive_without_code_is_refused(tmp_path: Path) -> None:
    """A saved state dict is an archive too, and no model."""
    with pytest.raises(errors.PipelineError, match="it has no code"):
        archives.operators(archive(tmp_path / "model.pt", {"model/data.pkl": ""}))


def test_a_missing_file_and_a_bomb_are_refused(tmp_path: Path) -> None:
    """No file is an error with words, and code that would fill the memory is not unpacked."""
    with pytest.raises(errors.PipelineError, match="could not be read"):
        archives.operators(tmp_path / "none.pt")
    bomb = archive(tmp_path / "model.pt", {"m/code/a.py": "\0" * (65 << 20)})
    with pytest.raises(errors.PipelineError, match="more code than any model"):
        archives.operators(bomb)
