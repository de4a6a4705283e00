"""How a backend says that a model cannot be served, or a request not be answered: with Triton's kinds of errors."""

from __future__ import annotations

from typing import Any

INVALID = "Invalid argument"
INTERNAL = "Internal"
UNAVAILABLE = "Unavailable"
UNSUPPORTED = "Unsupported"


class Refused(Exception):
    """The model cannot be served. `status` is Triton's name of the error's kind, such as `Invalid argument`."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Failed(Exception):
    """A request that cannot be answered, with Triton's code of the error's kind."""

    def __init__(self, code: Any, message: str) -> None:
        super().__init__(message)
        self.code = code
