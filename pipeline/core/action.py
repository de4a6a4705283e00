"""A build as a Bazel remote cache has it: a record under `ac/`, named by the build key, of blobs under `cas/`.

The record is Bazel's ActionResult (build/bazel/remote/execution/v2 of the Remote Execution API), so that a cache that
looks at what it is given can check it, and drop the blobs of a build together. Where a cache lies is known to its edge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from pipeline.core import build, errors, lock, messages, paths

MANIFEST = "manifest.json"
GOLDEN = "golden.safetensors"
LIMIT = 16 << 20
"""Bytes that a record or a manifest may have."""
_LARGEST = 1 << 30
"""Bytes that a golden may have: no lock tells its size."""
_FIELDS: dict[str, tuple[messages.Field, ...]] = {
    "Digest": (("hash", 1, "text"), ("size_bytes", 2, "int")),
    "OutputFile": (("path", 1, "text"), ("digest", 2, "Digest")),
    "ActionResult": (("output_files", 2, "OutputFile*"),),
}
_LONGEST, _PART = 1000, 255
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Fault(errors.PipelineError):
    """A cache that fails, or lies: it costs time and is told, and nothing of it is used."""


def record(key: str) -> str:
    """Where a cache has the record of a build."""
    return f"ac/{key}"


def blob(sha256: str) -> str:
    """Where a cache has the bytes of this digest."""
    return f"cas/{sha256}"


def dump(files: Mapping[str, build.File]) -> bytes:
    """The record of a build whose files these are, manifest and golden among them."""
    made = _message("ActionResult")()
    for name, file in sorted(files.items()):
        output = made.output_files.add()
        output.path, output.digest.hash, output.digest.size_bytes = name, file.sha256, file.size
    data: bytes = made.SerializeToString(deterministic=True)
    return data


def parse(data: bytes) -> dict[str, build.File]:
    """The files that a record names. Raises Fault where it is none, or names what no build has."""
    from google.protobuf import message  # noqa: PLC0415

    made = _message("ActionResult")()
    try:
        made.ParseFromString(data)
    except message.DecodeError as error:
        msg = "its record cannot be read"
        raise Fault(msg) from error
    files = {each.path: build.File(sha256=each.digest.hash, size=each.digest.size_bytes) for each in made.output_files}
    for name, file in files.items():
        if not _plain(name) or _DIGEST.fullmatch(file.sha256) is None or file.size < 0:
            msg = f"its record names {name!r}, {file.size} bytes of sha256 {file.sha256!r}"
            raise Fault(msg)
    if inside := {name for name in files if {str(each) for each in PurePosixPath(name).parents} & files.keys()}:
        msg = f"its record names {min(inside)!r} inside of a file"
        raise Fault(msg)
    if lacking := {MANIFEST, GOLDEN} - files.keys():
        msg = f"its record has no {min(lacking)}"
        raise Fault(msg)
    return files


def manifest(data: bytes) -> build.Built:
    """What a manifest says. Raises Fault where it is none, or says what only a later version understands."""
    try:
        known = msgspec.json.decode(data, type=dict[str, Any])
        built = msgspec.convert(known, build.Built)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"its manifest cannot be read: {error}"
        raise Fault(msg) from error
    if unknown := known.keys() - set(build.Built.__struct_fields__):
        msg = f"its manifest is of a later version: it has {min(unknown)!r}"
        raise Fault(msg)
    return built


def check(key: str, built: build.Built, files: Mapping[str, build.File], pinned: lock.Version | None) -> None:
    """Raises Fault unless a manifest is of this build, its record names the same files, and the lock, where it knows
    the build, the same bytes."""
    said = {name: file for name, file in files.items() if name not in {MANIFEST, GOLDEN}}
    problem = ""
    if built.key != key:
        problem = f"it has the build {built.key} in its place"
    elif said != built.files or files[GOLDEN].sha256 != built.golden:
        problem = "its record and its manifest name other files"
    elif files[GOLDEN].size > _LARGEST:
        problem = f"its golden has {files[GOLDEN].size} bytes"
    elif pinned is not None and not _is_pinned(built, pinned):
        problem = "its bytes are not those that the lock pins"
    if problem:
        raise Fault(problem)


def _is_pinned(built: build.Built, pinned: lock.Version) -> bool:
    """One that is not reproducible has other files wherever it was built: its golden is the same."""
    same = built.golden == pinned.golden and built.reproducible == pinned.reproducible
    return same and (not pinned.reproducible or built.files == pinned.files)


def _plain(name: str) -> bool:
    path = PurePosixPath(name)
    short = len(name.encode()) <= _LONGEST and all(len(part.encode()) <= _PART for part in path.parts)
    return short and not paths.outside(name) and path.as_posix() == name and name != "."


def _message(name: str) -> Any:  # noqa: ANN401 - protobuf makes the class
    return messages.of("build.bazel.remote.execution.v2", name, **_FIELDS)
