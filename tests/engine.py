"""A Docker engine for the tests, and the CPU image on it. `.ci/engine COMMAND` starts one where none runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.core import errors
from pipeline.edges import docker
from pipeline.edges.docker import build
from pipeline.edges.embedded import toolkit

HOME = Path(__file__).parent.parent
WHEELS = HOME / ".pipeline" / "image" / "wheels"
PYTHON_BASE = "python:3.11-slim-bookworm"
DEBIAN_BASE = "triton-pipeline-base:debian12"
_UNUSED = ("usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists", "var/log")


def reach() -> docker.Engine:
    """The engine that DOCKER_HOST names, or this machine's. Without one a test cannot be run, and fails."""
    try:
        return docker.connect()
    except errors.PipelineError as error:
        pytest.fail(f"this test needs a Docker engine ({error.message}): run the tests by .ci/engine", pytrace=False)


def cpu_image(engine: docker.Engine, *, tag: str = build.TAG, fresh: bool = False) -> docker.Image:
    """The CPU image, built where the engine has none of these inputs, or `fresh`."""
    made = build.parts(HOME, WHEELS, toolkit.ours(), base=base(engine), say=say)
    return build.image(made, say=say, tag=tag, fresh=fresh)


def base(engine: docker.Engine) -> str:
    """What the image stands on, by its id: Python's own image, or, where no registry is reached, Debian's packages."""
    for reference in (PYTHON_BASE, DEBIAN_BASE):
        if known := docker.find_image(engine, reference):
            return known.id
    try:
        return docker.pull(engine, PYTHON_BASE, limit=5, say=say).id
    except errors.PipelineError as error:
        say(f"{error.message}: the base is made of Debian's packages")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        archive = Path(folder, "base.tar")
        _debootstrap(Path(folder, "root"), archive)
        engine.api.import_image(src=str(archive), repository=DEBIAN_BASE.partition(":")[0], tag="debian12")
    known = docker.find_image(engine, DEBIAN_BASE)
    assert known is not None
    return known.id


def say(line: str) -> None:
    """Progress of minutes, for whoever watches the tests."""
    sys.__stderr__.write(f"{line}\n") if sys.__stderr__ else None


def _debootstrap(root: Path, archive: Path) -> None:
    """A Debian 12 with Python 3.11 as an archive, its files in order and of one time."""
    words = ["debootstrap", "--variant=minbase", "--include=python3-minimal,libpython3.11"]
    _run([*words, "bookworm", str(root), _mirror()])
    _run(["find", *(str(root / name) for name in _UNUSED), "-type", "f", "-delete"])
    order = ["--sort=name", "--mtime=@315532800", "--numeric-owner"]
    _run(["tar", *order, "--exclude=./dev/*", "-C", str(root), "-cf", str(archive), "."])


def _mirror() -> str:
    """Where this machine's own apt gets Debian's packages."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    found = _run([*words, "Created-By: Packages", "Origin: Debian", "Codename: bookworm"]).split()
    assert found, "apt knows no source of Debian 12: the image's base cannot be made"
    return found[0]


def _run(words: list[str]) -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    variables = os.environ | {"PATH": path}
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False, env=variables)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout
