"""The facts that ship with the program: tables read out of the package, wherever it is installed."""

from __future__ import annotations

from importlib import resources


def releases() -> str:
    """The text of the release matrix, for `core.matrix` to parse."""
    return resources.files("pipeline").joinpath("data", "triton_releases.csv").read_text(encoding="utf-8")
