"""Files that are taken as they are: the folder of a finished version, and what lies beside a model's config.

Their digests are in the spec, or in the lock; here they are compared and copied. What they mean is Triton's business.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.core import build, errors, paths, spec
from pipeline.edges import digests, files

_EMPTY = "folder"


def resolve(declared: spec.FileSource, root: Path, known: digests.Digests) -> build.Resolved:
    """The files of a version's folder, if they are those that the spec names, each with its digest.

    Raises Unverified with every difference, PipelineError where there is no such folder.
    """
    found = known.tree(root / declared.path)
    wrong = list(_differences(declared.files, {name: value for name, value in found.items() if value != _EMPTY}))
    if wrong:
        msg = f"{declared.path} is not the folder that the spec names"
        hint = "Restore the files, or correct source.file.files if the new ones are right."
        raise errors.Unverified(msg, hint=hint, details=wrong)
    wheels = [{"name": each.name, "version": each.version, "sha256": each.sha256} for each in declared.wheels]
    identity = {"path": declared.path, **({"wheels": wheels} if wheels else {})}
    return build.Resolved(kind="file", identity=identity, files=declared.files)


def digest(declared: spec.Beside, root: Path, known: digests.Digests) -> str:
    """The sha256 of a file that lies beside a config. Raises Unverified where the spec names another one."""
    path = root / declared.path
    with files.guard("read", path):
        got = known.of(path)
    if declared.sha256 is not None and got != declared.sha256:
        msg = f"{declared.path} is not the file that the spec names: expected sha256 {declared.sha256}, got {got}"
        raise errors.Unverified(msg, hint="Restore the file, or correct its sha256 in the spec.")
    return got


def copies(resolved: build.Resolved) -> Iterator[tuple[str, str, str]]:
    """What a finished version is made of: each file's name in the version, its path in the project, its sha256.

    A single file gets the usual name of its format, which Triton looks for.
    """
    path = str(resolved.identity["path"])
    if "sha256" in resolved.identity:
        yield f"model{Path(path).suffix}", path, str(resolved.identity["sha256"])
        return
    for name, sha256 in resolved.files.items():
        yield name, f"{path}/{name}", sha256


def copy(path: Path, target: Path, sha256: str) -> build.File:
    """Makes a fresh copy of a file, on the disk. Raises Unverified where its bytes are other ones."""
    files.make_folder(target.parent)
    files.copy(path, target)
    with files.guard("read", target):
        got, size = digests.take(target), target.stat().st_size
    if got != sha256:
        msg = f"{path} was changed while it was copied: expected sha256 {sha256}, got {got}"
        raise errors.Unverified(msg, hint="Run the command again.")
    return build.File(sha256=got, size=size)


def unpack(wheel: Path, target: Path, what: str) -> dict[str, build.File]:
    """Puts a wheel's packages into a folder, beside what is there; its files by name. Scripts and headers stay out.

    Raises PipelineError for a name that leads elsewhere, or that is there already.
    """
    found: dict[str, build.File] = {}
    with files.guard("read", wheel), zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = _place(member.filename)
            if member.is_dir() or name is None:
                continue
            if unsafe := paths.outside(name):
                msg = f"the wheel {what} has a file whose path {unsafe}: {member.filename!r}"
                raise errors.PipelineError(msg, hint="Do not use this wheel.")
            if (target / name).exists():
                msg = f"the wheel {what} has {name}, which is there already"
                raise errors.PipelineError(msg, hint="Leave one of the two out of source.file.")
            files.make_folder((target / name).parent)
            data = archive.read(member)
            files.write(target / name, data)
            found[name] = build.File(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    return found


def _place(name: str) -> str | None:
    """Where a wheel's member is installed, by the specification of wheels; None for what no import needs."""
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return name
    scheme, _, inner = rest.partition("/")
    return inner or None if scheme in {"purelib", "platlib"} else None


def _differences(expected: Mapping[str, str], got: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(expected.keys() | got.keys()):
        wanted, found = expected.get(name, "no such file"), got.get(name, "missing")
        if wanted != found:
            yield f"{name}: expected {wanted}, got {found}"
