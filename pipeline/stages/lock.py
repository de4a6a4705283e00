"""Lock: writes what was built into pipeline.lock. A changed golden needs an explicit word, and is shown in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from pipeline import edges
from pipeline.core import build, errors, findings, layout, spec
from pipeline.core import lock as locking
from pipeline.edges import files, folders, store

_LIMIT = 64 << 20


def read(project: edges.Project) -> locking.Lock | None:
    """The lock as it is on disk, or None where there is none yet. Raises PipelineError for a damaged one."""
    text = files.read(project.lock, _LIMIT)
    return None if text is None else locking.parse(text, file=project.lock.name)


def propose(  # noqa: PLR0913 - old and new of one thing each
    declared: spec.Spec,
    made: Mapping[layout.At, build.Build],
    old: locking.Lock | None,
    *,
    stored: store.Store,
    image: locking.Image,
    accept: bool,
    kept: frozenset[str] = frozenset(),
    beside: Mapping[str, build.Beside] | None = None,
) -> locking.Lock:
    """The new lock, with this image, which is not written yet. Models in `kept` stay as the old lock has them, or out
    of it.

    Raises Unverified where a rebuild is not what the lock says, or where a golden changed and `accept` is False.
    """
    built: dict[layout.At, build.Built] = {}
    for at, each in made.items():
        entry = stored.get(build.key(each))
        if entry is not None:
            built[at] = entry
    found = [*_rebuilt(built, old), *([] if accept else _goldens(built, old, stored))]
    if found:
        changed = any(finding.rule == "golden-changed" for finding in found)
        msg = "goldens changed" if changed else "a rebuild does not give what the lock says"
        hint = "Look at the numbers. If the change is meant: `lock --accept-goldens`." if changed else _DIFFERS
        raise errors.Unverified(msg, hint=hint, found=found)
    known = _kept(old, kept)
    models = {name: model for name, model in declared.models.items() if name in known or name not in kept}
    asked = msgspec.structs.replace(declared, models=models)
    found_beside = {name: stored.get(build.key_beside(each)) for name, each in (beside or {}).items()}
    lying = {name: each for name, each in found_beside.items() if each is not None}
    new = layout.next_lock(asked, made, built, image=image, kept=known, beside=lying)
    return msgspec.structs.replace(new, digest=locking.root(new))


def write(project: edges.Project, new: locking.Lock | None) -> None:
    """Writes the lock where it differs from the one on disk; with None it is removed."""
    if new is None:
        folders.remove(project.lock)
        return
    text = locking.dump(new)
    if files.read(project.lock, _LIMIT) != text:
        files.write(project.lock, text)


_DIFFERS = (
    "The spec, the sources and the toolchain are equal, so something else shapes the bytes: the machine, or a library "
    "outside the pins. Nothing was changed."
)


def _kept(old: locking.Lock | None, names: frozenset[str]) -> dict[str, locking.Model]:
    return {name: model for name, model in old.models.items() if name in names} if old else {}


def _rebuilt(built: Mapping[layout.At, build.Built], old: locking.Lock | None) -> Iterator[findings.Finding]:
    """Entries whose key the lock knows, with other bytes than it pins."""
    for (name, number), entry in built.items():
        pinned = locking.version(old, name, number)
        if pinned is None or pinned.key != entry.key:
            continue
        wrong = [] if pinned.golden == entry.golden else [f"golden {entry.golden}, locked {pinned.golden}"]
        if entry.reproducible:
            files_of = pinned.files.keys() | entry.files.keys()
            wrong += [
                f"{path} {_sha256(entry.files.get(path))}, locked {_sha256(pinned.files.get(path))}"
                for path in sorted(files_of)
                if entry.files.get(path) != pinned.files.get(path)
            ]
        for message in wrong:
            yield findings.Finding(rule="rebuild-differs", message=message, model=name, version=number)


def _sha256(file: build.File | None) -> str:
    return file.sha256 if file else "(none)"


def _goldens(
    built: Mapping[layout.At, build.Built], old: locking.Lock | None, stored: store.Store
) -> Iterator[findings.Finding]:
    for (name, number), entry in built.items():
        pinned = locking.version(old, name, number)
        if pinned is None or pinned.key == entry.key or pinned.golden == entry.golden:
            continue
        message = "; ".join(_numbers(pinned.key, entry.key, stored))
        yield findings.Finding(rule="golden-changed", message=message, model=name, version=number)


def _numbers(old: str, new: str, stored: store.Store) -> Iterator[str]:
    """How far each golden tensor moved: the largest absolute difference, or the change of shape or type."""
    if stored.get(old) is None:
        yield "the golden changed (the store does not have the old one any more, so there are no numbers)"
        return
    from pipeline.edges import goldens  # noqa: PLC0415 - numpy, which a plan must not import

    yield from goldens.moves(*(goldens.read(stored.path(key) / store.GOLDEN) for key in (old, new)))
