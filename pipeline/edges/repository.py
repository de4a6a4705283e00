"""Triton's model repository on disk: what is there, and one model put in or taken out whole.

Triton sees a model's folder finished or not at all: everything is built under a name with a dot, which Triton and
`observe` ignore, verified there, and exchanged for the old folder in one step. A folder is opened once and looked at
from there: a link that is put in its place meanwhile leads nowhere. What should be there is known elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from pipeline.core import errors, state
from pipeline.edges import digests, files, folders

CONFIG = "config.pbtxt"
_LIMIT = 4 << 20
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
        with folders.opened(folder / name) as there:
            claimed = None if there is None else _claim(there, folder / name, known, claims or {})
            if there is None or claimed is None:
                strangers.append(name)
                continue
            found = known.tree(folder / name, opened=there, public=True)
            models[name] = state.Model(name=name, files=found, digest=claimed, folder=_identity(os.fstat(there)))
    return models, tuple(strangers)


class Swap(msgspec.Struct, frozen=True, kw_only=True):
    """A model's folder that was put in or taken out. `old` is what stood at `target`, None where nothing did."""

    target: Path
    old: Path | None


def install(
    folder: Path, model: state.Model, texts: Mapping[str, str], entries: Entries, known: digests.Digests
) -> Swap:
    """Makes the model's folder exactly `model.files`: fresh real copies, verified, exchanged for the old in one step.

    `texts` has `config.pbtxt` and what else is written, by their paths; a file `N/…` is copied from the store entry of
    version N, any other from that of the files beside the config. Every file is 0644 and every folder 0755, since a
    container's user reads them. Raises Unverified where a copy's bytes are not the expected ones, PipelineError where
    the disk refuses or the name is taken by something that is not ours; either way the old folder stands. The swap
    that is returned must be undone or forgotten.
    """
    target = _place(folder, model.name)
    with folders.opened(target) as there:
        if _stands(target) if there is None else not _is_ours(there, target, known, model):
            raise _stranger(target)
        with folders.stage(folder) as aside:
            for name, text in texts.items():
                files.make_folder((aside / name).parent)
                files.write(aside / name, text.encode())
            for name in sorted(model.files.keys() - texts.keys()):
                _place_file(aside, name, model.files[name], entries)
            folders.stamp(aside, after=folders.newest(there, target))
            _verify(aside, model, known)
            folders.sync(aside)
            return Swap(target=target, old=_put(aside, target, there))


def _put(aside: Path, target: Path, there: int | None) -> Path | None:
    """Puts the finished folder in place of the one that is open; where that stands now, None where there was none."""
    if there is None:
        folders.publish(aside, target)
        return None
    folders.exchange(aside, target)
    if not _is_same(aside, there):
        folders.exchange(aside, target)
        raise _stranger(target)
    old = files.temporary(target.parent)
    folders.publish(aside, old)
    return old


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
    with folders.opened(target) as there:
        if there is None and not _stands(target):
            return Swap(target=target, old=None)
        if there is None or _claimed(there, target) is None:
            raise _stranger(target)
        old = files.temporary(folder)
        folders.publish(target, old)
        if not _is_same(old, there):
            folders.publish(old, target)
            raise _stranger(target)
        return Swap(target=target, old=old)


def undo(swap: Swap) -> None:
    """Puts the folder back that stood before: the very same files, under a new time of change."""
    with folders.opened(swap.target) as there:
        if swap.old is not None and there is not None:
            with contextlib.suppress(errors.PipelineError):  # a clock that was set back must not keep old files away
                folders.stamp(swap.old, after=folders.newest(there, swap.target))
            folders.exchange(swap.old, swap.target)
            folders.remove(swap.old)
        elif swap.old is not None:
            folders.publish(swap.old, swap.target)
        elif there is not None:
            aside = files.temporary(swap.target.parent)
            folders.publish(swap.target, aside)
            folders.remove(aside)


def forget(swap: Swap) -> None:
    """Removes the folder that stood before, for good."""
    if swap.old is not None:
        folders.remove(swap.old)


def renew(folder: Path, name: str, *, ahead: int = 0) -> None:
    """Gives a model's config and versions a later time than any that is in its folder, by `ahead` nanoseconds at least:
    Triton does nothing at a load of what is not newer than what it saw last, and forgets that only at its end."""
    target = folder / name
    with folders.opened(target) as there:
        newest = folders.newest(there, target)
    folders.stamp(target, after=newest + ahead)


def identity(folder: Path, name: str) -> str | None:
    """What tells a model's folder from every other that stood or will stand in its place; None where none is."""
    with files.guard("read", folder / name):
        try:
            return _identity((folder / name).lstat())
        except FileNotFoundError:
            return None


def read_config(folder: Path, name: str) -> str | None:
    """The text of a model's config.pbtxt; None where there is none, or one that is no plain text file."""
    with folders.opened(folder / name) as there:
        try:
            return None if there is None else _config(there, folder / name).decode()
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


def _stands(path: Path) -> bool:
    """Whether anything stands at a path, be it a link that leads nowhere."""
    with files.guard("read", path):
        return os.path.lexists(path)


def _is_same(path: Path, there: int) -> bool:
    """Whether what stands at a path is the folder that is open."""
    with files.guard("read", path):
        return os.path.samestat(path.lstat(), os.fstat(there))


def _identity(about: os.stat_result) -> str:
    return f"{about.st_dev}:{about.st_ino}:{about.st_ctime_ns}"  # a number of an inode alone is used again


def _claim(there: int, target: Path, known: digests.Digests, claims: Mapping[str, str]) -> str | None:
    """What `_claimed` says, without reading a config whose bytes and claim are known."""
    with files.guard("read", target / CONFIG):
        if not _has_config(there):
            return None
        sha256 = known.of(CONFIG, dir_fd=there)
    return claims[sha256] if sha256 in claims else _claimed(there, target)


def _claimed(there: int, target: Path) -> str | None:
    """The digest that the config of a model's folder claims; None for one that the pipeline did not make."""
    with files.guard("read", target / CONFIG):
        if not _has_config(there):
            return None
    found = _CLAIM.search(_config(there, target))
    return found[1].decode("ascii") if found else None


def _has_config(there: int) -> bool:
    """Whether there is a config that is a file, and no link to one."""
    try:
        return stat.S_ISREG(os.stat(CONFIG, dir_fd=there, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _config(there: int, target: Path) -> bytes:
    return files.read(target / CONFIG, _LIMIT, opened=there) or b""


def _is_ours(there: int, target: Path, known: digests.Digests, model: state.Model) -> bool:
    """Whether the pipeline made a folder. One whose config is lost or overwritten is ours still, if it has files
    besides, and every byte of them is the model's too."""
    if _claimed(there, target) is not None:
        return True
    found = {value for path, value in known.tree(target, opened=there).items() if path != CONFIG}
    return bool(found) and found <= {*model.files.values(), "folder"}


def _stranger(target: Path) -> errors.PipelineError:
    msg = f"{target} was not made by the pipeline"
    return errors.PipelineError(msg, hint="Move it out of the model repository, or give your model another name.")


def _place(folder: Path, name: str) -> Path:
    """The folder of a model: a name that could lead elsewhere is refused."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        msg = f"{name!r} is no name for a model's folder"
        raise errors.PipelineError(msg, hint="Use letters, digits, dots, dashes and underscores.")
    return folder / name


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
