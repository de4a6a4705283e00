"""What an image tells of itself: the question as a container that is shut in, and the answer as a row of the matrix.

Its variables are known without running it. What else there is to know is asked inside, by a program of a few lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from pipeline.core import container, image, matrix

LABEL = container.LABEL + "question"
"""The label of containers that only ask: whoever finds an old one may remove it."""

VARIABLES = {
    "TRITON_SERVER_VERSION": "triton_version",
    "CUDA_VERSION": "cuda",
    "TRT_VERSION": "tensorrt",
}
"""The variables of NVIDIA's images that tell a cell of the matrix."""

_MARK = "triton-pipeline:"
_LIBRARIES = ("onnxruntime", "openvino")
_PROGRAM = r"""
import json, os, platform, re
root, told, aoti = "/opt/tritonserver/backends", {}, None
package = {"pytorch": "torch"}
for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
    folder, version = os.path.join(root, name), ""
    files = os.listdir(folder) if os.path.isdir(folder) else []
    for each in files:
        found = re.match(r"lib(?:onnxruntime|openvino)\.so\.([0-9]+(?:\.[0-9]+)+)$", each)
        version = found.group(1) if found else version
    if "model.py" in files:
        try:
            from importlib import metadata
            version = metadata.version(package.get(name, name))
        except Exception:
            pass
    elif "libtriton_pytorch.so" in files:
        with open(os.path.join(folder, "libtriton_pytorch.so"), "rb") as library:
            aoti = b"torch_aoti" in library.read()
    told[name] = version
system = {}
try:
    with open("/etc/os-release") as file:
        system = dict(line.strip().split("=", 1) for line in file if "=" in line)
except Exception:
    pass
ubuntu = system.get("VERSION_ID", "").strip('"') if system.get("ID", "").strip('"') == "ubuntu" else ""
print("MARK" + json.dumps({"python": platform.python_version(), "ubuntu": ubuntu, "backends": told, "aoti": aoti}))
""".replace("MARK", _MARK)


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen inside: Python's version, Ubuntu's (empty for another system), each backend with the version of
    its library (empty where that is not told), and whether PyTorch's loads `torch_aoti` (None where nobody can say)."""

    python: str
    ubuntu: str
    backends: dict[str, str]
    aoti: bool | None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """All that an image has told. `id` is the engine's, `inside` None where nothing could be run in it."""

    format: Literal[1] = 1
    id: str
    variables: dict[str, str]
    inside: Inside | None


def question(name: str, reference: str, identity: str) -> container.Container:
    """The container that asks: no network, no folder of the machine, no GPU, nothing to write to, little of all else.

    It runs as nobody's user id with what the image itself starts programs with.
    """
    return container.Container(
        name=name,
        image=reference,
        image_id=identity,
        command=("python3", "-I", "-c", _PROGRAM),
        environment={"HOME": "/tmp", "NVIDIA_VISIBLE_DEVICES": "void"},  # noqa: S108 - the container's own
        labels={LABEL: identity},
        mounts=(),
        ports=(),
        gpus=None,
        network="none",
        user="65534:65534",
        cap_drop=("ALL",),
        cap_add=(),
        no_new_privileges=True,
        read_only=True,
        tmpfs={"/tmp": "rw,nosuid,nodev,noexec,size=16777216,mode=1777"},  # noqa: S108
        memory=512 << 20,
        cpus=0,
        pids=128,
        shm_size=1 << 20,
        ulimits={},
        ipc="private",
        init=True,
        log_size=1 << 20,
        log_files=1,
        stop_seconds=1,
    )


def answer(log: str) -> Inside | None:
    """What the program has said, among what an image's own start says; None where it has said nothing of use."""
    for line in reversed(log.splitlines()):
        if line.startswith(_MARK):
            try:
                return msgspec.json.decode(line.removeprefix(_MARK).encode(), type=Inside)
            except msgspec.DecodeError:
                return None
    return None


def row(reference: image.Reference, rows: Sequence[matrix.Row], told: Told) -> matrix.Row:
    """The matrix' row for an image with what it has told in place of the table's: for one of NVIDIA's plain releases
    that release's, for any other a row of its own."""
    tag = image.tagged(reference.tag or "") if reference.repository == image.TRITON else None
    known = matrix.find(rows, tag.release) if tag and tag.variant == image.PLAIN else None
    base = known or matrix.Row(tag=tag.release if tag else str(reference))
    made = matrix.probed(base, _cells(told))
    return made if told.inside is None else msgspec.structs.replace(made, backends=tuple(told.inside.backends))


def _cells(told: Told) -> dict[str, str]:
    """The columns that were told, with their cells."""
    found = {column: told.variables.get(name, "") for name, column in VARIABLES.items()}
    inside = told.inside
    if inside is not None:
        found |= {"python": inside.python, "ubuntu": inside.ubuntu}
        found |= {name: inside.backends.get(name, "") for name in _LIBRARIES}
        found |= {"pytorch": inside.backends.get("pytorch", ""), "tensorflow_backend": _tensorflow(inside)}
        found |= {"torch_aoti": "" if inside.aoti is None else "yes" if inside.aoti else "no"}
    return {column: cell for column, cell in found.items() if matrix.numbers(cell) or cell in {"yes", "no"}}


def _tensorflow(inside: Inside) -> str:
    return "yes" if any(name.startswith("tensorflow") for name in inside.backends) else "no"
