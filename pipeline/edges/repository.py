"""Triton's model repository on disk: what is there, and one model put in or taken out whole.

Triton sees a model's folder finished or not at all: everything is built under a name with a dot, which Triton and
`observe` ignore, verified there, and exchanged for the old folder in one step. What should be there is known elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from pipeline.core import errors, state
from pipeline.edges import digests, files, folders

CONFIG = "config.pbtxt"
_LIMIT = 4 << 20
_COARSE = 2_000_000_000  # nanoseconds: the coarsest clock of a file system that is in use (FAT)
# The parameter as protobuf's text format writes it, and as a person might: with or without colons and commas.
_CLAIM = re.compile(
    rb'key\s*:\s*"pipeline_digest"\s*[,;]?\s*value\s*:?\s*[{<]\s*string_value\s*:\s*"([0-9A-Za-z:_-]{1,128})"'
)

EMPTY = "folder"
"""What stands for the digest of a folder without files."""
Entries = Callable[[int | None], Path]
"""The store entry that the files of a version come from; of None, those beside the config."""


def observe(
    folder: Path, known: digests.Digests, claims: Mapping[str, str] | None = None
) -> tuple[dict[str, state.Model], tuple[str, ...]]:
    """The models of ours in a repository, and the names of folders that the pipeline did not make, both sorted.

    A model is ours if its config claims a `pipeline_digest`; `claims` maps the sha256 of configs that are known to
    the digest that they claim, so that they need not be read. In `files` a link, a hard link or the like stands by
    its kind in place of a digest, and `unreadable` what a container's user could not read: so it differs from
    everything desired. None of them is opened.
    """
    models: dict[str, state.Model] = {}
    strangers: list[str] = []
    for name in _names(folder):
        claimed = _claim(folder / name, known, claims or {})
        if claimed is None:
            strangers.append(name)
        else:
            models[name] = state.Model(
                name=name, files=known.tree(folder / name, public=True), digest=claimed, folder=identity(folder, name)
            )
    return models, tuple(strangers)


class Swap(msgspec.Struct, frozen=True, kw_only=True):
    """A model's folder that was put in or taken out. `old` is what stood at `target`, None where nothing did."""

    target: Path
    old: Path | None


def install(folder: Path, model: state.Model, config_text: str, entries: Entries, known: digests.Digests) -> Swap:
    """Makes the model's folder exactly `model.files`: fresh real copies, verified, exchanged for the old in one step.

    `config_text` becomes `config.pbtxt`; a file `N/…` is copied from the store entry of version N, any other from
    that of the files beside the config. Every file is
    0644 and every folder 0755, since a container's user reads them. Raises Unverified where a copy's bytes are not
    the expected ones, PipelineError where the disk refuses or the name is taken by something that is not ours; either
    way the old folder stands. The swap that is returned must be undone or forgotten.
    """
    target = _place(folder, model.name)
    _refuse_stranger(target, known, model)
    with folders.stage(folder) as aside:
        files.write(aside / CONFIG, config_text.encode())
        for name in sorted(model.files.keys() - {CONFIG}):
            _place_file(aside, name, model.files[name], entries)
        _stamp(aside, after=_newest(target))
        _verify(aside, model, known)
        folders.sync(aside)
        if not target.is_dir():
            folders.publish(aside, target)
            return Swap(target=target, old=None)
        folders.exchange(aside, target)
        old = files.temporary(folder)
        folders.publish(aside, old)
        return Swap(target=target, old=old)


def _place_file(aside: Path, name: str, value: str, entries: Entries) -> None:
    """Puts one file of a model where it belongs, or an empty folder."""
    if value == EMPTY:
        files.make_folder(aside / name)
        return
    version, _, inner = name.partition("/")
    files.make_folder((aside / name).parent)
    is_version = inner and version.isdecimal()
    files.copy(entries(int(version)) / inner if is_version else entries(None) / name, aside / name)


def remove(folder: Path, name: str) -> Swap:
    """Takes one model of ours out, in one step. Raises PipelineError for a folder that the pipeline did not make.

    The swap that is returned must be undone or forgotten.
    """
    target = _place(folder, name)
    if _kind(target) is None:
        return Swap(target=target, old=None)
    if _claimed(target) is None:
        raise _stranger(target)
    old = files.temporary(folder)
    folders.publish(target, old)
    return Swap(target=target, old=old)


def undo(swap: Swap) -> None:
    """Puts the folder back that stood before: the very same files, under a new time of change."""
    if swap.old is not None and swap.target.is_dir():
        with contextlib.suppress(errors.PipelineError):  # a clock that was set back must not keep the old files away
            _stamp(swap.old, after=_newest(swap.target))
        folders.exchange(swap.old, swap.target)
        folders.remove(swap.old)
    elif swap.old is not None:
        folders.publish(swap.old, swap.target)
    elif swap.target.is_dir():
        aside = files.temporary(swap.target.parent)
        folders.publish(swap.target, aside)
        folders.remove(aside)


def forget(swap: Swap) -> None:
    """Removes the folder that stood before, for good."""
    if swap.old is not None:
        folders.remove(swap.old)


def renew(folder: Path, name: str) -> None:
    """Gives a model's config and versions a later time than any that is in its folder: Triton does nothing at a load
    of what has the time that it had at the last one."""
    _stamp(folder / name, after=_newest(folder / name))


def identity(folder: Path, name: str) -> str | None:
    """What tells a model's folder from every other that stood or will stand in its place; None where none is."""
    with files.guard("read", folder / name):
        try:
            about = (folder / name).lstat()
        except FileNotFoundError:
            return None
    return f"{about.st_dev}:{about.st_ino}:{about.st_ctime_ns}"  # a number of an inode alone is used again


def read_config(folder: Path, name: str) -> str | None:
    """The text of a model's config.pbtxt; None where there is none, or one that is no plain text file."""
    if _kind(folder / name) != "folder" or _kind(folder / name / CONFIG) != "other":
        return None
    try:
        return (files.read(folder / name / CONFIG, _LIMIT) or b"").decode()
    except (errors.PipelineError, UnicodeDecodeError):
        return None


def sweep(folder: Path) -> tuple[str, ...]:
    """Removes what killed runs left behind, and returns the names. Only for the holder of the writer lock."""
    return folders.sweep(folder)


def _names(folder: Path) -> list[str]:
    """What Triton would look at: folders, and links in their place; never a name with a dot."""
    with files.guard("read", folder):
        try:
            with os.scandir(folder) as found:
                return sorted(
                    entry.name
                    for entry in found
                    if not entry.name.startswith(".") and (entry.is_dir(follow_symlinks=False) or entry.is_symlink())
                )
        except FileNotFoundError:
            return []


def _kind(path: Path) -> str | None:
    """What stands at a path, without following it: folder, link, other, or None for nothing."""
    with files.guard("read", path):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return None
    return "folder" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "other"


def _claim(target: Path, known: digests.Digests, claims: Mapping[str, str]) -> str | None:
    """What `_claimed` says, without reading a config whose bytes and claim are known."""
    if _kind(target) != "folder" or _kind(target / CONFIG) != "other":
        return None
    with files.guard("read", target / CONFIG):
        sha256 = known.of(target / CONFIG)
    return claims[sha256] if sha256 in claims else _claimed(target)


def _claimed(target: Path) -> str | None:
    """The digest that the config of a model's folder claims; None for one that the pipeline did not make."""
    if _kind(target) != "folder" or _kind(target / CONFIG) != "other":
        return None
    found = _CLAIM.search(files.read(target / CONFIG, _LIMIT) or b"")
    return found[1].decode("ascii") if found else None


def _refuse_stranger(target: Path, known: digests.Digests, model: state.Model) -> None:
    """Raises where something stands at the target that is not ours. A folder whose config is lost or overwritten is
    ours still, if it has files besides, and every byte of them is the model's too."""
    match _kind(target):
        case None:
            return
        case "folder" if _claimed(target) is not None:
            return
        case "folder":
            there = {value for path, value in known.tree(target).items() if path != CONFIG}
            if there and there <= {*model.files.values(), "folder"}:
                return
    raise _stranger(target)


def _stranger(target: Path) -> errors.PipelineError:
    msg = f"{target} was not made by the pipeline"
    return errors.PipelineError(msg, hint="Move it out of the model repository, or give your model another name.")


def _place(folder: Path, name: str) -> Path:
    """The folder of a model: a name that could lead elsewhere is refused."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        msg = f"{name!r} is no name for a model's folder"
        raise errors.PipelineError(msg, hint="Use letters, digits, dots, dashes and underscores.")
    return folder / name


def _newest(target: Path) -> int:
    """The latest time in a tree, in nanoseconds, as Triton looks for it; 0 where there is none.

    It may be tomorrow's: a clock was set back since, or somebody has written it.
    """
    with files.guard("read", target):
        found = [target, *target.rglob("*")] if _kind(target) == "folder" else []
        times = [path.lstat() for path in found]
    return max((max(about.st_mtime_ns, about.st_ctime_ns) for about in times), default=0)


def _stamp(target: Path, *, after: int) -> None:
    """Sets the times of a folder's config and versions to now, or later than `after` where that is not past.

    Triton looks at each version by itself. What lies in a folder keeps its times, so its digests stay known.
    """
    if _kind(target) != "folder":
        return
    now = time.time_ns()
    stamp = now if now > after else after + _COARSE
    with files.guard("write", target):
        for path in target.iterdir():
            os.utime(path, ns=(stamp, stamp), follow_symlinks=False)


def _verify(aside: Path, model: state.Model, known: digests.Digests) -> None:
    """Reads the finished copy back, and refuses it where one file is not what the lock says."""
    got = known.tree(aside, public=True)
    wrong = [
        f"{name}: {got.get(name, 'missing')}, expected {model.files.get(name, 'no such file')}"
        for name in sorted(got.keys() | model.files.keys())
        if got.get(name) != model.files.get(name)
    ]
    if wrong:
        msg = f"the files of the model {model.name} are not what the lock says"
        hint = "Nothing was changed. The damaged store entry must go: run `export`, which builds it again."
        raise errors.Unverified(msg, hint=hint, details=wrong)
