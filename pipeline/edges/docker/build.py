"""Builds the CPU image of docker/Dockerfile: the real Triton from PyPI with our backends, for machines without a GPU.

What goes in is fixed before the engine sees it: wheels of the pinned versions, our sources, a base. Equal inputs give
an image with equal files; its id differs from build to build, since the engine writes the time into it. An image whose
label names the very inputs is not built again.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import msgspec

import pipeline
from pipeline import edges
from pipeline.core import build, errors, pins
from pipeline.edges import files
from pipeline.edges.docker import engine as engines
from pipeline.edges.docker import images

HOME = Path(pipeline.__file__).parent.parent
"""The checkout that this program runs from."""

TAG = images.CPU
INPUTS = "triton-pipeline.inputs"
TIMEOUT = 1800.0
"""Seconds in which a step of the build must say something: one of them installs torch, and says nothing."""

PACKAGES = (
    "filelock",
    "fsspec",
    "jinja2",
    "markupsafe",
    "mpmath",
    "networkx",
    "numpy",
    "nvidia-pytriton",
    "setuptools",
    "sympy",
    "torch",
    "typing-extensions",
)
"""What torch's CPU build asks for, and Triton. pip itself installs them, and stays out."""

BACKEND = "pytorch"
"""The one of our backends whose libraries are among these."""

_PYTHON = "3.11"
_LABELS = {"torch": "+cpu"}
_PINS = 1 << 20
_PLATFORMS = ("manylinux_2_35", "manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
_TIME = 315532800  # 1980-01-01: the first second that every archive format knows


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into the image: the build context's files by their place in it, and the base that it stands on."""

    base: str
    files: dict[str, Path]
    requirements: str


def parts(home: Path, wheels: Path, backends: Mapping[str, Path], *, base: str, say: edges.Say) -> Parts:
    """The parts out of a checkout of the pipeline, with the wheels fetched into `wheels` by pip's own configuration.

    `backends` are the sources of our backends by their place, `base` is a reference that stays what it is: one with a
    digest, or an id. Raises Unfit where pip does not get a wheel, and without a checkout.
    """
    places = {"Dockerfile": home / "docker" / "Dockerfile"}
    text = files.read(home / "requirements" / "torch.txt", _PINS)
    if text is None or not places["Dockerfile"].is_file():
        msg = f"{home} is no checkout of the pipeline: it has no docker/Dockerfile with requirements/torch.txt"
        raise errors.Unfit(msg, hint="Run this in a clone of its repository.")
    pinned = pins.parse(text.decode())
    found = _fetch(pinned, wheels, say)
    requirements = "".join(pins.line(name, pinned[name]) for name in PACKAGES)
    places |= {f"wheels/{path.name}": path for path in found}
    places |= {f"backends/{name}": path for name, path in backends.items() if name.partition("/")[0] == BACKEND}
    return Parts(base=base, files=dict(sorted(places.items())), requirements=requirements)


def inputs(made: Parts) -> str:
    """The digest of all that goes in."""
    return build.digest(
        {"base": made.base, "requirements": made.requirements, "files": {k: _sha256(v) for k, v in made.files.items()}}
    )


def image(made: Parts, *, say: edges.Say, tag: str = TAG, fresh: bool = False) -> images.Image:
    """The image under its tag, built where the engine has none of these inputs, or where it shall be made `fresh`.

    Raises Unfit without an engine, PipelineError with the build's last lines where it fails.
    """
    digest = inputs(made)
    with engines.connect(timeout=TIMEOUT) as engine:
        known = images.find(engine, tag)
        if known is not None and known.labels.get(INPUTS) == digest and not fresh:
            say(f"{tag} is there already")
            return known
        say(f"building {tag}: some minutes")
        with tempfile.TemporaryFile() as file:
            _pack(made, file)
            file.seek(0)
            _build(engine, file, tag, {"BASE": made.base, "INPUTS": digest, "VERSION": pipeline.__version__}, fresh)
        found = images.find(engine, tag)
    if found is None:
        msg = f"{tag} was built, and is gone"
        raise errors.PipelineError(msg, hint="Build it again.")
    return found


def _build(engine: engines.Engine, context: IO[bytes], tag: str, arguments: dict[str, str], fresh: bool) -> None:  # noqa: FBT001
    lines: list[str] = []
    with engines.asking(engine, "build the image"):
        words = {"fileobj": context, "custom_context": True, "tag": tag, "buildargs": arguments, "nocache": fresh}
        for event in engine.api.build(**words, rm=True, forcerm=True, decode=True):
            lines += str(event.get("stream", "")).splitlines()
            if "error" in event:
                msg = f"the image could not be built: {engines.clean(event['error'])}"
                raise errors.PipelineError(
                    msg, hint="Its last lines are above.", details=map(engines.clean, lines[-20:])
                )


def _fetch(pinned: Mapping[str, pins.Pin], folder: Path, say: edges.Say) -> tuple[Path, ...]:
    """The wheels of the packages and of pip; those that are in the folder already are taken from there."""
    wanted = [*PACKAGES, "pip"]
    versions = {name: pinned[name].version for name in wanted}
    missing = [name for name in wanted if not _wheels(folder, name, versions[name])]
    if missing:
        say(f"fetching {len(missing)} wheels")
        files.make_folder(folder)
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        words += ["--disable-pip-version-check", f"--dest={folder}", f"--python-version={_PYTHON}"]
        words += [f"--platform={name}_x86_64" for name in _PLATFORMS]
        done = subprocess.run(
            [*words, "--requirement=/dev/stdin"],
            input="".join(pins.line(name, _labelled(name, pinned[name])) for name in missing),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode:
            msg = "pip could not fetch the wheels of the image"
            hint = "It uses your own configuration (`pip config list`): the last lines above are pip's."
            if _LABELS["torch"] in done.stderr:
                hint = (
                    "The lines above are pip's. PyPI has only the CUDA build of torch: name the index of PyTorch's CPU "
                    "builds in PIP_EXTRA_INDEX_URL. pytorch.org tells it (Linux, pip, CPU)."
                )
            raise errors.Unfit(msg, hint=hint, details=map(engines.clean, done.stderr.splitlines()[-10:]))
    return tuple(path for name in wanted for path in _wheels(folder, name, versions[name])[:1])


def _labelled(name: str, pin: pins.Pin) -> pins.Pin:
    """The pin as pip must be asked: of two builds with good digests it would take the other."""
    return msgspec.structs.replace(pin, version=pin.version + _LABELS.get(name, ""))


def _wheels(folder: Path, name: str, version: str) -> list[Path]:
    """The wheels of a package's version; of torch, those of the CPU build, which has a label of its own."""
    found = folder.glob(f"{name.replace('-', '_')}-*.whl")
    return sorted(path for path in found if path.name.split("-")[1] == version + _LABELS.get(name, ""))


def _pack(made: Parts, file: IO[bytes]) -> None:
    """The build context as an archive: in order, of one owner and time, so that its layers are equal too."""
    with tarfile.open(fileobj=file, mode="w|") as archive:
        text = made.requirements.encode()
        archive.addfile(_entry("requirements.txt", len(text)), io.BytesIO(text))
        for name, path in made.files.items():
            with files.guard("read", path), path.open("rb") as content:
                archive.addfile(_entry(name, path.stat().st_size), content)


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o644, _TIME
    return entry


def _sha256(path: Path) -> str:
    with files.guard("read", path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
