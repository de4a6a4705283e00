"""The clock that nobody can set, waiting, and chance."""

from __future__ import annotations

import random
import time

now = time.monotonic
"""Seconds that never go back."""


def wait(seconds: float) -> bool:
    """Waits, unless a signal ends it. Never says by itself that all must end."""
    time.sleep(seconds)
    return False


def chance() -> float:
    """A number from 0 to 1, for waits that should not fall together. Nothing secret hangs on it."""
    return random.random()  # noqa: S311
