"""What goes into the CPU image is fixed, byte for byte, before an engine sees it."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import errors, pins
from pipeline.edges.docker import build

ROOT = Path(__file__).parents[2]


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with a wheel of every pin, of torch both builds."""
    pinned = pins.parse((ROOT / "requirements" / "torch.txt").read_text())
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in (*build.PACKAGES, "pip"):
        stem = f"{name.replace('-', '_')}-{pinned[name].version}"
        (folder / f"{stem}-py3-none-any.whl").write_text(stem)
        if name == "torch":
            (folder / f"{stem}+cpu-cp311-cp311-any.whl").write_text("cpu")
    (folder / "numpy-1.0-py3-none-any.whl").write_text("an old one")
    return folder


def made(wheels: Path, base: str = "sha256:1") -> build.Parts:
    """The parts with one file of ours."""
    return build.parts(ROOT, wheels, {"pytorch/model.py": Path(__file__)}, base=base, say=lambda _: None)


def packed(parts: build.Parts) -> bytes:
    """The build context."""
    file = io.BytesIO()
    build._pack(parts, file)
    return file.getvalue()


def test_pinned_wheels_and_no_others(wheels: Path) -> None:
    """The context has the pinned wheels, of torch the CPU build, and asks for no package without a version."""
    parts = made(wheels)
    names = {name for name in parts.files if name.startswith("wheels/")}
    assert len(names) == len(build.PACKAGES) + 1
    assert [name for name in names if "torch-" in name] == ["wheels/torch-2.13.0+cpu-cp311-cp311-any.whl"]
    assert "wheels/numpy-1.0-py3-none-any.whl" not in names
    assert all(line.partition(" --hash=sha256:")[2] for line in parts.requirements.splitlines())


def test_equal_inputs_give_equal_bytes(wheels: Path) -> None:
    """Two contexts of the same parts are the same bytes, whatever the files' times, owners and order."""
    first = packed(made(wheels))
    for path in sorted(wheels.iterdir(), reverse=True):
        path.touch()
        path.chmod(0o600)
    assert packed(made(wheels)) == first
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert {(each.uid, each.gid, each.mode, each.mtime) for each in archive} == {(0, 0, 0o644, build._TIME)}
        assert {"Dockerfile", "requirements.txt", "backends/pytorch/model.py"} < set(archive.getnames())


def test_the_inputs_name_all_that_goes_in(wheels: Path) -> None:
    """Another base, another byte in a wheel: other inputs, so another image."""
    first = build.inputs(made(wheels))
    assert build.inputs(made(wheels)) == first
    assert build.inputs(made(wheels, base="sha256:2")) != first
    next(wheels.glob("sympy-*")).write_text("other")
    assert build.inputs(made(wheels)) != first


def failing(monkeypatch: pytest.MonkeyPatch, words: str) -> list[str]:
    """Lets pip fail with these words; what it is asked for comes into the list."""
    asked: list[str] = []

    def fail(command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        asked.append(more["input"])
        return subprocess.CompletedProcess(command, 1, "", words)

    monkeypatch.setattr(subprocess, "run", fail)
    return asked


def test_pip_that_fails_has_the_last_word(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel that cannot be fetched is Unfit, with what pip said; only what is missing was asked for."""
    asked = failing(monkeypatch, "ERROR: No matching distribution\x1b[0m\n")
    next(wheels.glob("jinja2-*")).unlink()
    with pytest.raises(errors.Unfit, match="could not fetch") as refused:
        made(wheels)
    assert refused.value.details == ("ERROR: No matching distribution\\x1b[0m",)
    assert asked[0].startswith("jinja2==3.1.6 --hash=sha256:")
    assert len(asked[0].splitlines()) == 1
    assert "PIP_EXTRA_INDEX_URL" not in refused.value.hint


@pytest.mark.parametrize("said", ["(from versions: 2.13.0)", "(from versions: none)"])
def test_the_cpu_build_that_is_not_there(wheels: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """Without the CPU build of torch the user is told of its index; whether pip saw another build, pip says itself."""
    asked = failing(monkeypatch, f"ERROR: Could not find a version that satisfies torch==2.13.0+cpu {said}\n")
    next(wheels.glob("torch-*+cpu*")).unlink()
    with pytest.raises(errors.Unfit, match="could not fetch") as refused:
        made(wheels)
    assert "PIP_EXTRA_INDEX_URL" in refused.value.hint
    assert said in refused.value.details[0]
    assert asked[0].startswith("torch==2.13.0+cpu --hash=sha256:")


def test_the_dockerfile_is_pinned_and_not_roots() -> None:
    """The base is an argument without a default, nothing is fetched while it is built, and nothing runs as root."""
    lines = (ROOT / "docker" / "Dockerfile").read_text().splitlines()
    assert "ARG BASE" in lines
    assert {line for line in lines if line.startswith("FROM ")} == {"FROM ${BASE} AS parts", "FROM ${BASE}"}
    assert "USER 1000:1000" in lines
    assert "--no-index" in "".join(lines)
    assert "--require-hashes" in "".join(lines)
    assert not [line for line in lines if "apt-get" in line or "curl" in line or line.startswith("ADD ")]
