"""The facts that ship with the program: tables read out of the package, wherever it is installed."""

from __future__ import annotations

from importlib import resources


def releases() -> str:
    """The text of the release matrix, for `core.matrix` to parse."""
    return _text("triton_releases.csv")


def model_config() -> str:
    """The text of the catalog of ModelConfig's fields, for `core.catalog` to parse."""
    return _text("model_config_fields.csv")


def _text(name: str) -> str:
    return resources.files("pipeline").joinpath("data", name).read_text(encoding="utf-8")
