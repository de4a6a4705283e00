"""The releases that are kept, in `.pipeline/releases/`: a folder each, and `history.json`, which says what is current.

A release's folder is whole or not there. It counts once the history knows it: one with a number beyond the history's
last is what a killed run left. Only the holder of the writer lock may call what changes something.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path

import msgspec

from pipeline.core import errors, release
from pipeline.edges import files, folders

HISTORY = "history.json"
_MANIFEST = "release.json"
_SPEC = "spec.json"
_LOCK = "pipeline.lock"
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_LIMIT = 64 << 20


class Releases:
    """The releases under `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._history = folder / HISTORY

    def history(self) -> release.History:
        """What was done, oldest first. Raises PipelineError where it is damaged, or gone while releases are there."""
        text = files.read(self._history, _LIMIT)
        if text is not None:
            return release.parse(text, file=str(self._history))
        if self.numbers():
            msg = f"{self._history} is gone, and there are releases"
            raise errors.PipelineError(msg, hint=release.RECOVER)
        return release.History()

    def numbers(self) -> tuple[int, ...]:
        """The numbers of the releases that are there, ascending."""
        with files.guard("read", self.folder):
            try:
                names = [path.name for path in self.folder.iterdir()]
            except FileNotFoundError:
                return ()
        return tuple(sorted(int(name) for name in names if _NUMBER.fullmatch(name)))

    def current(self) -> release.Release | None:
        """The release that was applied last; None before the first. Raises as `history` and `get` do."""
        number = release.current(self.history())
        return None if number is None else self.get(number)

    def get(self, number: int) -> release.Release:
        """A release with its texts, checked byte for byte.

        Raises PipelineError where there is none of this number, Unverified where one of its files was changed.
        """
        there = self.numbers()
        if number not in there:
            msg = f"there is no release {number}"
            listed = ", ".join(map(str, there))
            hint = (
                f"There {'are' if len(there) > 1 else 'is'} {listed}." if there else "There is none yet: run `apply`."
            )
            raise errors.PipelineError(msg, hint=hint)
        manifest = self._manifest(number)
        texts = {name: self._text(number, manifest, name) for name in (_SPEC, _LOCK)}
        return release.Release(number=number, digest=manifest.digest, spec=texts[_SPEC], lock=texts[_LOCK])

    def commit(self, *, spec: str, lock: str, digest: str, entry: release.Entry, keep: int) -> release.Release:
        """Makes what is live now the current release; a digest that is there keeps its number.

        The `entry` gets the release's number and digest, and the result `applied`. Releases beyond the last `keep`
        go. Raises PipelineError where the disk refuses; then history and current release are the old ones.
        """
        history = self.history()
        self._forget(history)
        made = self._find(digest)
        if made is None:
            made = release.Release(number=history.last + 1, digest=digest, spec=spec, lock=lock)
            self._publish(made, entry)
        done = msgspec.structs.replace(entry, release=made.number, digest=digest, result="applied")
        try:
            self._write(release.add(history, done))
        except BaseException:
            # Where the last sync alone failed the new history stands, and the caller will undo what it tells.
            with contextlib.suppress(errors.PipelineError):
                self._write(history)
            raise
        self._drop(made.number, keep)
        return made

    def record(self, entry: release.Entry) -> None:
        """Adds one entry to the history: a run that made no release. Raises PipelineError."""
        self._write(release.add(self.history(), entry))

    def rebuild(self, current: int | None = None) -> release.History:
        """Makes a new history of the releases that are whole, in order of number, `current` last where it is given.

        A history that is whole, and whose current release is, stays as it is; any other is kept beside the new one,
        as `history.json.old`. Raises PipelineError where the disk refuses.
        """
        whole = self._whole()
        with contextlib.suppress(errors.PipelineError):
            history = self.history()
            if release.current(history) in {None, *whole}:
                return history
        old = files.read(self._history, _LIMIT)
        if old is not None:
            files.write(self._history.with_suffix(".json.old"), old)
        entries = [
            _recovered(whole[number]) for number in sorted(whole, key=lambda number: (number == current, number))
        ]
        history = release.History(entries=tuple(entries), last=max(self.numbers(), default=0))
        self._write(history)
        return history

    def sweep(self, *, keep: int | None = None) -> tuple[str, ...]:
        """Removes what killed runs left, and returns the names; with `keep` also releases beyond the last ones.

        A damaged history keeps every release.
        """
        swept = folders.sweep(self.folder)
        before = self.numbers()
        with contextlib.suppress(errors.PipelineError):
            history = self.history()
            self._forget(history)
            if keep is not None:
                self._drop(release.current(history), keep)
        after = self.numbers()
        return (*swept, *(str(number) for number in before if number not in after))

    def _manifest(self, number: int) -> release.Manifest:
        path = self.folder / str(number) / _MANIFEST
        manifest = release.parse_manifest(files.read(path, _LIMIT) or b"", file=str(path))
        if manifest.number != number:
            msg = f"{path} is of the release {manifest.number}"
            raise errors.Unverified(msg, hint=release.DAMAGED)
        return manifest

    def _text(self, number: int, manifest: release.Manifest, name: str) -> str:
        path = self.folder / str(number) / name
        data = files.read(path, _LIMIT)
        if data is None or _sha256(data) != manifest.files.get(name):
            msg = f"{path} is not what release {number} was made of"
            raise errors.Unverified(msg, hint=release.DAMAGED)
        return data.decode()

    def _find(self, digest: str) -> release.Release | None:
        """The newest whole release of a digest: a damaged one is as good as none."""
        for number in reversed(self.numbers()):
            with contextlib.suppress(errors.PipelineError):
                if self._manifest(number).digest == digest:
                    return self.get(number)
        return None

    def _whole(self) -> dict[int, release.Manifest]:
        """The manifests of all releases that `get` would give."""
        found = {}
        for number in self.numbers():
            with contextlib.suppress(errors.PipelineError):
                self.get(number)
                found[number] = self._manifest(number)
        return found

    def _publish(self, made: release.Release, entry: release.Entry) -> None:
        """Writes a release aside, and gives it its name in one step. Its files are on the disk by then."""
        if files.read(self._history, _LIMIT) is None:
            self._write(release.History())  # from now on a missing history is a lost one, never a new one
        texts = {_SPEC: made.spec.encode(), _LOCK: made.lock.encode()}
        manifest = release.Manifest(
            number=made.number,
            digest=made.digest,
            command=entry.command,
            start=entry.start,
            seconds=float(entry.seconds),
            files={name: _sha256(data) for name, data in texts.items()},
        )
        with folders.stage(self.folder) as aside:
            for name, data in {**texts, _MANIFEST: release.dump_manifest(manifest)}.items():
                files.write(aside / name, data, mode=0o444)
            folders.publish(aside, self.folder / str(made.number))

    def _write(self, history: release.History) -> None:
        files.write(self._history, release.dump(history))

    def _forget(self, history: release.History) -> None:
        """Removes releases that the history never knew."""
        for number in self.numbers():
            if number > history.last:
                self._remove(number)

    def _drop(self, current: int | None, keep: int) -> None:
        """Removes releases beyond the last ones. What cannot go now is no reason to fail: it goes next time."""
        there = self.numbers()
        for number in sorted({*there} - release.kept(there, current, keep)):
            with contextlib.suppress(errors.PipelineError):
                self._remove(number)

    def _remove(self, number: int) -> None:
        """Takes a release away in one step."""
        aside = files.temporary(self.folder)
        folders.publish(self.folder / str(number), aside)
        folders.remove(aside)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _recovered(manifest: release.Manifest) -> release.Entry:
    return release.Entry(
        release=manifest.number,
        digest=manifest.digest,
        command=manifest.command,
        start=manifest.start,
        seconds=manifest.seconds,
        result="applied",
        message="recovered",
    )
