"""The Python environments: which interpreter has torch, and which versions of the libraries are pinned.

Nothing is installed here (nox does that), and torch is never imported to learn its version.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

from pipeline.core import errors

VARIABLE = "PIPELINE_TORCH_PYTHON"
SHAPING = ("numpy", "safetensors", "tokenizers", "torch", "transformers")
"""The libraries that shape an artifact's or golden's bytes."""

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+_-]+)", re.MULTILINE)


def toolchain(root: Path) -> dict[str, str]:
    """The versions that builds are made with, as pinned in requirements/torch.txt, and Python's `major.minor`.

    Raises Unfit where the pins are missing.
    """
    pins = root / "requirements" / "torch.txt"
    try:
        found = dict(_PIN.findall(pins.read_text(encoding="utf-8")))
    except OSError as error:
        msg = f"could not read the pinned toolchain {pins}: {error.strerror}"
        raise errors.Unfit(msg, hint="Restore requirements/torch.txt from git.") from error
    missing = [name for name in SHAPING if name not in found]
    if missing:
        msg = f"{pins} does not pin {', '.join(missing)}"
        raise errors.Unfit(msg, hint="Pin each as `name==version`.")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python, **{name: found[name] for name in SHAPING}}


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
