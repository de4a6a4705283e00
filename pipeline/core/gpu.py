"""NVIDIA's GPUs by their names: their family, and their compute capability where the driver has not told it.

The capabilities are those of https://developer.nvidia.com/cuda-gpus and .../cuda-legacy-gpus. A name that is not here
is unknown.
"""

from __future__ import annotations

import enum
import re


class Family(enum.StrEnum):
    """What a GPU was made for: CUDA's forward compatibility depends on it."""

    DATA_CENTER = "data-center"
    WORKSTATION = "workstation"
    GEFORCE = "GeForce"
    JETSON = "Jetson"
    UNKNOWN = "unknown"


_DATA_CENTER = {
    "K80": "3.7",
    **dict.fromkeys(("M4", "M6", "M10", "M40", "M60"), "5.2"),
    "P100": "6.0",
    **dict.fromkeys(("P4", "P6", "P40"), "6.1"),
    **dict.fromkeys(("V100", "V100S"), "7.0"),
    **dict.fromkeys(("T4", "T4G"), "7.5"),
    **dict.fromkeys(("A30", "A100", "A100X", "A30X", "A800"), "8.0"),
    **dict.fromkeys(("A2", "A10", "A10G", "A10M", "A16", "A40"), "8.6"),
    **dict.fromkeys(("L2", "L4", "L20", "L40", "L40S", "L40G"), "8.9"),
    **dict.fromkeys(("H20", "H100", "H200", "H800", "GH200"), "9.0"),
    **dict.fromkeys(("B100", "B200", "GB200"), "10.0"),
    **dict.fromkeys(("B300", "GB300"), "10.3"),
}
_NAMED = (
    (r"GeForce RTX 50[0-9]{2}", "12.0"),
    (r"GeForce RTX 40[0-9]{2}", "8.9"),
    (r"GeForce RTX 30[0-9]{2}", "8.6"),
    (r"GeForce (?:RTX 20|GTX 16)[0-9]{2}", "7.5"),
    (r"GeForce GTX 10[0-9]{2}", "6.1"),
    (r"GeForce GTX 9[0-9]{2}", "5.2"),
    (r"TITAN RTX", "7.5"),
    (r"TITAN V\b", "7.0"),
    (r"TITAN (?:X[Pp]|X \(Pascal\))", "6.1"),
    (r"RTX PRO [0-9]{4}.*Blackwell", "12.0"),
    (r"RTX [0-9]{4} .*Ada|RTX 6000 Ada", "8.9"),
    (r"RTX A[0-9]{3,4}\b", "8.6"),
    (r"Quadro RTX [0-9]{4}", "7.5"),
    (r"Quadro GV100", "7.0"),
    (r"Quadro GP100", "6.0"),
    (r"Quadro P[0-9]{3,4}", "6.1"),
    (r"Thor", "11.0"),
    (r"Orin", "8.7"),
    (r"Xavier", "7.2"),
)
_FAMILIES = (
    (Family.GEFORCE, re.compile(r"GeForce|TITAN", re.IGNORECASE)),
    (Family.JETSON, re.compile(r"Jetson|Tegra|Xavier|Orin|Thor", re.IGNORECASE)),
    (Family.WORKSTATION, re.compile(r"\bRTX|Quadro", re.IGNORECASE)),
    (Family.DATA_CENTER, re.compile(r"\bTesla\b", re.IGNORECASE)),
)


def family(name: str) -> Family:
    """The family of a GPU by the name that `nvidia-smi` gives it, such as `NVIDIA A100-SXM4-80GB`."""
    found = next((kind for kind, pattern in _FAMILIES if pattern.search(name)), None)
    if found is not None:
        return found
    return Family.DATA_CENTER if _model(name) else Family.UNKNOWN


def capability(name: str) -> str | None:
    """The compute capability of a GPU by its name, such as 8.0; None where the name is not known."""
    if family(name) is Family.DATA_CENTER:
        model = _model(name)
        return _DATA_CENTER[model] if model else None
    return next((known for pattern, known in _NAMED if re.search(pattern, name, re.IGNORECASE)), None)


def forward_compatible(name: str) -> bool | None:
    """Whether newer CUDA libraries than the driver's may run on it; None where that cannot be told.

    Data-center GPUs and Jetson, some RTX cards of certified servers, never GeForce:
    https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html.
    """
    return {
        Family.DATA_CENTER: True,
        Family.JETSON: True,
        Family.GEFORCE: False,
    }.get(family(name))


def _model(name: str) -> str | None:
    return next((word for word in re.split(r"[^A-Z0-9]+", name.upper()) if word in _DATA_CENTER), None)
