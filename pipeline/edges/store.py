"""The store: artifacts by build key, in `.pipeline/store/<key>/`. An entry is whole or not there, and never changes.

An entry holds the artifact's files, `golden.safetensors`, and `manifest.json` with the digests of them all. What an
artifact is, and when one is needed, is known elsewhere. Only the holder of the writer lock may call what changes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from pipeline.core import build, errors, findings
from pipeline.edges import digests, files, folders

MANIFEST = "manifest.json"
GOLDEN = "golden.safetensors"
_KEY = re.compile(r"[0-9a-f]{64}")
_QUARANTINED = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{8}")
_LIMIT = 16 << 20


class Store:
    """The entries under `folder`, with `known` to take digests. Damaged entries go to `quarantine` beside it."""

    def __init__(self, folder: Path, known: digests.Digests) -> None:
        self.folder = folder
        self.quarantined = folder.parent / "quarantine"
        self._known = known

    def path(self, key: str) -> Path:
        """The folder of an entry, there or not."""
        if _KEY.fullmatch(key) is None:
            msg = f"{key!r} is no build key"
            raise errors.PipelineError(msg, hint="A build key has 64 hexadecimal digits: run `lock` again.")
        return self.folder / key

    def keys(self) -> frozenset[str]:
        """The keys of all entries that are whole, as their manifests say: no file's bytes are read."""
        return self.whole(self.entries())

    def whole(self, keys: Iterable[str]) -> frozenset[str]:
        """Those of `keys` that have an entry which is whole, as its manifest says: others are not looked at."""
        return frozenset(key for key in set(keys) if self.get(key) is not None)

    def entries(self) -> frozenset[str]:
        """The keys of all entries, whole or torn."""
        return frozenset(name for name in _names(self.folder) if _KEY.fullmatch(name))

    def get(self, key: str) -> build.Built | None:
        """The manifest of an entry; None where there is no entry, or one that is torn or names other files."""
        folder = self.path(key)
        try:
            text = files.read(folder / MANIFEST, _LIMIT)
            built = None if text is None else msgspec.json.decode(text, type=build.Built)
        except (errors.PipelineError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return built if built is not None and built.key == key and _sizes_match(folder, built) else None

    def check(self, key: str) -> tuple[findings.Finding, ...]:
        """Compares every file of an entry with its manifest. Where they differ the entry is moved to quarantine, so
        that it is built again, and each difference is a finding `store-digest`."""
        folder = self.path(key)
        built = self.get(key)
        if built is None:
            found: tuple[findings.Finding, ...] = (_finding(f"the store has no whole entry {key}"),)
        else:
            found = tuple(_differences(folder, _expected(built), self._known.tree(folder)))
        if found:
            self.quarantine(key)
        return found

    def quarantine(self, key: str) -> Path | None:
        """Moves an entry out of the store, for a person to look at, and frees its key. None where there is none."""
        entry = self.path(key)
        with files.guard("move away", entry):
            try:
                is_folder = stat.S_ISDIR(entry.lstat().st_mode)
            except FileNotFoundError:
                return None
            if is_folder:  # a folder that moves to another parent must be writable
                entry.chmod(0o755)
        files.make_folder(self.quarantined)
        aside = self.quarantined / f"{key}.{secrets.token_hex(4)}"
        folders.publish(entry, aside)
        return aside

    def stale(self, keep: frozenset[str]) -> tuple[str, ...]:
        """The names in quarantine that gc may purge: of a key in `keep` all but the newest, of any other key all."""
        found: dict[str, list[tuple[int, str]]] = {}
        for name in _names(self.quarantined):
            if _QUARANTINED.fullmatch(name):
                with files.guard("read", self.quarantined / name):
                    moved = (self.quarantined / name).lstat().st_ctime_ns
                found.setdefault(name.partition(".")[0], []).append((moved, name))
        stale = [sorted(moved)[:-1] if key in keep else moved for key, moved in found.items()]
        return tuple(sorted(name for moved in stale for _, name in moved))

    def remove(self, key: str) -> int:
        """Takes an entry out, in one step, for good. Returns how many bytes its files had: 0 where there is none."""
        return _remove(self.path(key))

    def purge(self, name: str) -> int:
        """The same for a name in quarantine."""
        if _QUARANTINED.fullmatch(name) is None:
            msg = f"{name!r} is no entry in quarantine"
            raise errors.PipelineError(msg, hint=f"Look into {self.quarantined}, and remove by hand what is yours.")
        return _remove(self.quarantined / name)

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """An empty folder on the store's file system to build an entry in; what is not published is removed."""
        with folders.stage(self.folder) as aside:
            yield aside

    def publish(self, key: str, staged: Path, built: build.Built) -> None:
        """Makes the files of `staged` the entry `key`, in one step: read-only, on the disk, as `built` says they are.

        An entry that is there and whole is kept and never replaced. Raises Unverified where a file is not what
        `built` says, PipelineError where the disk refuses; either way the store is as it was.
        """
        if built.key != key:
            msg = f"the manifest is of the build {built.key}, not of {key}"
            raise errors.PipelineError(msg, hint="This is a fault of the pipeline: please report it.")
        if self.get(key) is not None:
            return
        self.quarantine(key)
        _freeze(staged)
        found = tuple(_differences(staged, _expected(built), {**self._known.tree(staged), MANIFEST: ""}))
        if found:
            msg = f"the build {key} is not what was checked"
            raise errors.Unverified(msg, hint="Something changed its files: run the command again.", found=found)
        files.write(staged / MANIFEST, build.canonical(built), mode=0o444)
        folders.sync(staged)
        folders.publish(staged, self.path(key))
        with files.guard("publish", staged):  # last: only root may move a read-only folder to another parent
            self.path(key).chmod(0o555)

    def sweep(self) -> tuple[str, ...]:
        """Removes what killed runs left behind, and returns the names."""
        return (*folders.sweep(self.folder), *folders.sweep(self.quarantined))


def _names(folder: Path) -> list[str]:
    with files.guard("read", folder):
        try:
            return [path.name for path in folder.iterdir()]
        except FileNotFoundError:
            return []


def _remove(entry: Path) -> int:
    """Renames first: what is half removed has a name that no one takes for an entry, and that is swept."""
    with files.guard("remove", entry):
        try:
            found = [path.lstat() for path in (entry, *entry.rglob("*"))]
        except FileNotFoundError:
            return 0
    aside = files.temporary(entry.parent)
    folders.publish(entry, aside)
    folders.remove(aside)
    return sum(about.st_size for about in found if not stat.S_ISDIR(about.st_mode))


def _expected(built: build.Built) -> dict[str, str]:
    """Every file that an entry has beside its manifest, with its sha256."""
    return {**{name: file.sha256 for name, file in built.files.items()}, GOLDEN: built.golden}


def _differences(folder: Path, expected: dict[str, str], got: dict[str, str]) -> Iterator[findings.Finding]:
    for name in sorted((expected.keys() | got.keys()) - {MANIFEST}):
        match expected.get(name), got.get(name):
            case wanted, None:
                yield _finding(f"{folder / name} is missing, expected sha256 {wanted}")
            case None, _:
                yield _finding(f"{folder / name} does not belong there")
            case wanted, found if wanted != found:
                yield _finding(f"{folder / name} has {found}, expected sha256 {wanted}")


def _finding(message: str) -> findings.Finding:
    hint = "The entry was moved to quarantine: run the command again to build it anew."
    return findings.Finding(rule="store-digest", message=message, hint=hint)


def _sizes_match(folder: Path, built: build.Built) -> bool:
    """Whether each file is there with its size: cheap, and enough to see what a broken disk or a person took away."""
    try:
        return all(os.lstat(f"{folder}/{name}").st_size == file.size for name, file in built.files.items()) and (
            stat.S_ISREG(os.lstat(f"{folder}/{GOLDEN}").st_mode)
        )
    except OSError:
        return False


def _freeze(staged: Path) -> None:
    """Makes everything in a staged entry read-only, its root apart. Before digests are taken: it changes the ctime."""
    with files.guard("publish", staged):
        for path in sorted(staged.rglob("*")):
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                path.chmod(0o555)
            elif stat.S_ISREG(mode):
                path.chmod(0o444)
