"""The Python environments: which interpreter has torch, and which versions of the libraries are pinned.

Nothing is installed here (nox does that), and torch is never imported to learn its version.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from pipeline.core import errors, pins, platforms, spec

VARIABLE = "PIPELINE_TORCH_PYTHON"
SHAPING = ("numpy", "safetensors", "tokenizers", "torch", "transformers")
"""The libraries that shape an artifact's or golden's bytes."""

_ASK = """
import sys, importlib.metadata as metadata
there = {each.metadata["Name"].lower().replace("_", "-") for each in metadata.distributions()}
print(*(name for name in sys.argv[1:] if name not in there))
"""


def toolchain(root: Path, platform: platforms.Platform = platforms.TORCHSCRIPT) -> dict[str, str]:
    """The versions that artifacts of a platform are made with, as requirements/ pins them, and Python's `major.minor`.

    Raises Unfit where the pins are missing.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = _pinned(root, "torch", SHAPING)
    for group in platform.groups:
        found |= _pinned(root, group, platform.shaping)
    return {"python": python, **found}


def serving(root: Path, declared: spec.Spec) -> dict[str, str]:
    """The pinned versions of the libraries that the embedded server runs a spec's models with, beside torch's; none
    where there are no pins: an earlier release must be reached all the same."""
    found: dict[str, str] = {}
    known = {each.format: each for each in map(platforms.of_model, declared.models.values())}
    for platform in known.values():
        for group in platform.groups:
            with contextlib.suppress(errors.Unfit):
                found |= _pinned(root, group, platform.serving)
    return found


def check(python: Path, declared: Iterable[platforms.Platform]) -> None:
    """Raises Unfit where an interpreter has not what a platform's artifacts are made, checked and served with."""
    for platform in {each.format: each for each in declared}.values():
        wanted = [*platform.shaping, *platform.serving]
        if wanted and (missing := _missing(python, wanted)):
            msg = f"the environment of {python} has no {', '.join(missing)}, which {platform.format} needs"
            raise errors.Unfit(msg, hint=f"Add it with `nox -s environment -- {' '.join(platform.groups)}`.")


def _missing(python: Path, names: list[str]) -> list[str]:
    """Those of the packages that an interpreter has not; none of them is imported."""
    told = subprocess.run(
        [str(python), "-I", "-c", _ASK, *names], capture_output=True, text=True, timeout=60, check=False
    )
    return told.stdout.split() if told.returncode == 0 else names


def _pinned(root: Path, group: str, names: Iterable[str]) -> dict[str, str]:
    found = pinned(root, group)
    missing = [name for name in names if name not in found]
    if missing:
        msg = f"{root / 'requirements' / group}.txt does not pin {', '.join(missing)}"
        raise errors.Unfit(msg, hint="Pin each as `name==version`.")
    return {name: found[name] for name in names}


def pinned(root: Path, group: str) -> dict[str, str]:
    """The versions of a group's packages. Raises Unfit where there are no pins."""
    path = root / "requirements" / f"{group}.txt"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"could not read the pinned toolchain {path}: {error.strerror}"
        raise errors.Unfit(msg, hint=f"Restore requirements/{group}.txt from git.") from error
    return {name: each.version for name, each in pins.parse(text).items()}


def interpreter(root: Path) -> Path:
    """The Python that has torch: the one that PIPELINE_TORCH_PYTHON names, nox's, or this one. Raises Unfit."""
    named = os.environ.get(VARIABLE)
    if named:
        if os.access(named, os.X_OK):
            return Path(named)
        msg = f"{VARIABLE} names {named}, which is no program"
        raise errors.Unfit(msg, hint="Point it to the python of an environment with requirements/torch.txt.")
    made = root / ".nox" / "torch" / "bin" / "python"
    if os.access(made, os.X_OK):
        return made
    if importlib.util.find_spec("torch") is not None:
        return Path(sys.executable)
    msg = "there is no environment with PyTorch here"
    raise errors.Unfit(msg, hint="Make it with `nox -s environment -- torch`, or run the nox session of this command.")


def expected(root: Path) -> Path:
    """The interpreter that has torch, or, where there is none yet, the one that nox would make."""
    try:
        return interpreter(root)
    except errors.Unfit:
        return root / ".nox" / "torch" / "bin" / "python"
