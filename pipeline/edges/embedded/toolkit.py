"""The programs of the embedded runtime: found in the torch environment, and laid out as Triton wants its backends.

`nvidia-pytriton` brings the server, Triton's Python backend and a stub for each Python. Nothing is started here but
the environment's own interpreter, to ask where its parts lie.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import msgspec

import pipeline
from pipeline.core import build, errors
from pipeline.edges import files, folders

_ASK = """
import json, sys, sysconfig as s
v = s.get_config_var
print(json.dumps({"version": "%d.%d" % sys.version_info[:2], "site": s.get_path("purelib"), "base": sys.base_prefix,
                  "libdir": v("LIBDIR") or "", "arch": v("MULTIARCH") or ""}))
"""
_INSTALL = "Make the environment with `nox -s environment -- torch`, or install requirements/torch.txt into it."


class Toolkit(msgspec.Struct, frozen=True, kw_only=True):
    """Where the parts lie: the server, what goes into the backend folder, and the folders of shared libraries."""

    server: Path
    library: Path
    utilities: Path
    stub: Path
    libraries: tuple[Path, ...]


class _Answer(msgspec.Struct, frozen=True):
    version: str
    site: str
    base: str
    libdir: str
    arch: str


def find(python: Path) -> Toolkit:
    """The toolkit of an environment. Raises Unfit with what to install where a part is missing."""
    answer = _ask(python)
    triton = Path(answer.site, "pytriton", "tritonserver")
    server = triton / "bin" / "tritonserver"
    stub = triton / "python_backend_stubs" / answer.version / "triton_python_backend_stub"
    if not server.is_file():
        msg = f"the environment of {python} has no Triton: the package nvidia-pytriton is missing"
        raise errors.Unfit(msg, hint=_INSTALL)
    if not stub.is_file():
        found = ", ".join(sorted(path.name for path in stub.parent.parent.iterdir()))
        msg = f"nvidia-pytriton has no stub for Python {answer.version}, only for {found}"
        raise errors.Unfit(msg, hint="Make the torch environment with one of these Pythons.")
    backend = triton / "backends" / "python"
    return Toolkit(
        server=server,
        library=backend / "libtriton_python.so",
        utilities=backend / "triton_python_backend_utils.py",
        stub=stub,
        # The interpreter's own libpython comes first: with the system's, of another patch release, parts of the
        # standard library break.
        libraries=(_libpython(answer).parent, Path(answer.site, "nvidia_pytriton.libs")),
    )


def backends(folder: Path, python: Path) -> Path:
    """The backend directory for `--backend-directory`, made once in `folder` under the digest of its contents.

    It has `python/` (Triton's Python backend with the stub of this interpreter's version) and a folder for each of
    ours.
    Raises Unfit where the environment lacks a part, PipelineError where it cannot be written.
    """
    parts = _parts(find(python))
    found = {name: _sha256(path) for name, path in parts.items()}
    place = folder / build.digest(found)[:32]
    if place.is_dir() and {name: _sha256(place / name) for name in parts if (place / name).is_file()} == found:
        return place
    folders.remove(place)
    with folders.stage(folder) as aside:
        for name, path in parts.items():
            files.make_folder((aside / name).parent)
            files.copy(path.resolve(), aside / name, mode=0o755 if name.endswith("_stub") else 0o644)
        folders.sync(aside)
        folders.publish(aside, place)
    return place


def ours() -> dict[str, Path]:
    """The files of our own backends by their place in the backend directory. They keep their import path, and each
    has what they share beside it."""
    root = Path(pipeline.__file__).parent
    source = root / "triton_backends"
    shared = [root / "__init__.py", *sorted(source.glob("*.py"))]
    found: dict[str, Path] = {}
    for model in sorted(source.glob("*/model.py")):
        name = model.parent.name
        for path in (*shared, *sorted(model.parent.glob("*.py"))):
            found[str(Path(name, "pipeline", path.relative_to(root)))] = path
        found[f"{name}/model.py"] = model
    return found


def _parts(toolkit: Toolkit) -> dict[str, Path]:
    theirs = {
        "python/libtriton_python.so": toolkit.library,
        "python/triton_python_backend_utils.py": toolkit.utilities,
        "python/triton_python_backend_stub": toolkit.stub,
    }
    return theirs | ours()


def _ask(python: Path) -> _Answer:
    try:
        done = subprocess.run([python, "-I", "-c", _ASK], capture_output=True, timeout=60, check=True)
        return msgspec.json.decode(done.stdout, type=_Answer)
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError) as error:
        msg = f"the interpreter {python} does not run"
        raise errors.Unfit(msg, hint=_INSTALL) from error


def _libpython(answer: _Answer) -> Path:
    """The shared libpython that the stub is linked to, wherever this build of Python keeps it."""
    name = f"libpython{answer.version}.so.1.0"
    places = [answer.libdir, f"{answer.libdir}/{answer.arch}", f"{answer.base}/lib", f"{answer.base}/lib/{answer.arch}"]
    for place in places:
        if place and Path(place, name).is_file():
            return Path(place, name)
    msg = f"the Python of the torch environment, {answer.version} in {answer.base}, has no shared library {name}"
    hint = (
        f"Install it (Debian, Ubuntu: apt-get install libpython{answer.version}), or take a Python that was built with "
        "--enable-shared (the ones of uv and conda are)."
    )
    raise errors.Unfit(msg, hint=hint)


def _sha256(path: Path) -> str:
    with files.guard("read", path):
        return hashlib.sha256(path.read_bytes()).hexdigest()
