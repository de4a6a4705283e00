"""How many threads an instance may have: its share of the cores that this process may use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def threads(config: Mapping[str, Any], available: int) -> int:
    """The threads of one instance: the cores divided by the model's instances, so that they do not fight."""
    instances = sum(
        int(group.get("count") or 1) for group in config.get("instance_group", []) if group.get("kind") != "KIND_GPU"
    )
    return max(1, available // max(1, instances))


def available() -> int:
    """The cores that this process may use: its affinity, and the quota of its control group where one is set."""
    found = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(found, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        return found
