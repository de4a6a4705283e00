"""The house keeps its own law: floors, style, names, sizes, licence and pins, over every tracked file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import noxfile

ROOT = Path(__file__).parents[1]
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    if name and (ROOT / name).is_file()
]
MODULES = [path for path in TRACKED if path.suffix == ".py"]
HOLLOW = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"}
FORMATS = ["onnx", "openvino", "tensorflow"]
FUNCTION_LINES = 50
MODULE_LINES = 300
PIN = re.compile(r"([a-z0-9][a-z0-9-]*)==([0-9][\w.!]*)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n    # via .+\n")
HOME = re.compile(r"(?<![\w.~$}])/(?:home|Users|root)/[\w.-]+")


def shown(path: Path) -> str:
    """A path as a person would name it."""
    return str(path.relative_to(ROOT))


def pins(group: str) -> dict[str, tuple[str, str]]:
    """The pins of a requirements file, by package: the version, and the digests of its files."""
    text = (ROOT / "requirements" / f"{group}.txt").read_text()
    return {name: (version, hashes) for name, version, hashes in PIN.findall(text)}


@pytest.mark.parametrize(
    "words",
    [["lint-imports"], ["ruff", "check", "--no-cache"], ["ruff", "format", "--check", "--no-cache"]],
    ids=["floors", "rules", "format"],
)
def test_lint_is_clean(words: list[str]) -> None:
    """The floors, the rules and the format hold."""
    program = Path(sys.executable).with_name(words[0])
    done = subprocess.run([program, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_names_say_something() -> None:
    """No module or folder has a name that fits any content."""
    assert [shown(path) for path in MODULES if HOLLOW & {*path.relative_to(ROOT).with_suffix("").parts}] == []


def test_modules_say_what_lives_in_them() -> None:
    """Every module has a docstring."""
    assert [shown(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_functions_fit_on_a_screen() -> None:
    """No function is longer than the limit."""
    functions = [
        (shown(path), node.name, (node.end_lineno or 0) - node.lineno + 1)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [function for function in functions if function[2] > FUNCTION_LINES] == []


def test_modules_have_one_job() -> None:
    """No module of the program has grown past the limit."""
    program = [path for path in MODULES if path.is_relative_to(ROOT / "pipeline")]
    lengths = {shown(path): len(path.read_text().splitlines()) for path in program}
    assert {name: length for name, length in lengths.items() if length > MODULE_LINES} == {}


def test_no_file_names_somebodys_machine() -> None:
    """No tracked text holds an absolute path into a home folder."""
    texts = {shown(path): path.read_bytes().decode(errors="replace") for path in TRACKED if path != Path(__file__)}
    assert {name: found for name, text in texts.items() if (found := HOME.findall(text))} == {}


def test_licence_is_apache() -> None:
    """The licence is the whole text of Apache-2.0, as the project's metadata says."""
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("group", ["core", "cache", "torch", *FORMATS, "signing", "dev", "nox", "benchmarks"])
def test_requirements_are_pinned(group: str) -> None:
    """Row 73: every package is pinned to one version and the digests of its files, with no option, address or path."""
    text = (ROOT / "requirements" / f"{group}.txt").read_text()
    assert PIN.sub("", text) == noxfile.HEADER.format(group=group)
    assert pins(group)


PAIRS = [
    ("core", "torch"),
    ("core", "signing"),
    ("signing", "dev"),
    ("nox", "dev"),
    ("core", "cache"),
    ("cache", "dev"),
    *(("torch", each) for each in FORMATS),
    *((each, "dev") for each in FORMATS),
]


@pytest.mark.parametrize(("small", "large"), PAIRS)
def test_environments_agree(small: str, large: str) -> None:
    """What the smaller environment has, the larger has too, in the same version, and of the same files."""
    assert pins(small).items() <= pins(large).items()


def test_torch_is_the_promised_one() -> None:
    """The pins carry the versions that the design names, and no CUDA package."""
    version, hashes = pins("torch")["torch"]
    assert version == "2.13.0"
    assert noxfile.CPU_BUILDS[f"torch=={version}"] in hashes
    assert pins("torch")["nvidia-pytriton"][0] == "0.7.0"
    assert [name for name in pins("torch") if name.startswith("nvidia-") and name != "nvidia-pytriton"] == []
