"""Whether a rebuild gives what the lock says: which input, tool or record differs. Nothing is built or read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from pipeline.core import build, findings, lock

_INPUT = "Nothing was built of it: bring the input back to what was locked, or lock the new one with `export`."
_OUTPUT = (
    "The spec, the sources and the toolchain are equal, so something else shapes the bytes: the machine, a library "
    "outside of the pins, or chance in the model's code."
)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A version that was built again. `exact` says that its bytes are the locked ones; else it is of a format that has
    other bytes each time, and what was compared is what it answers."""

    model: str
    version: int
    key: str
    exact: bool


def places(source: build.Resolved) -> dict[str, str]:
    """The project's own files that a source is made of, by their paths, each with its sha256: what a clean folder must
    have, and nothing else. What comes over the network is not among them."""
    match source.kind:
        case "factory":
            return dict(source.files)
        case "path":
            return {f"{source.identity['folder']}/{name}": sha256 for name, sha256 in source.files.items()}
        case "file":
            path = str(source.identity["path"])
            one = {path: str(source.identity["sha256"])} if "sha256" in source.identity else {}
            return one or {f"{path}/{name}": sha256 for name, sha256 in source.files.items()}
        case _:
            return {}


def all_places(made: build.Build) -> dict[str, str]:
    """The same for all that a build reads: its source, its tokenizer, and, of an ensemble, those of its steps."""
    found: dict[str, str] = {}
    for source in (made.source, made.tokenizer):
        found |= places(source) if source is not None else {}
    for step in made.steps:
        found |= all_places(step.build)
    return found


def inputs(made: build.Build, locked: lock.Lock) -> tuple[findings.Finding, ...]:
    """What differs between a build as it would be now and as it was locked: empty where the keys are the same."""
    pinned = lock.version(locked, made.model, made.version)
    if pinned is None:
        return (_finding(made, "rebuild-input", "it is not in the lock", "Lock it with `export`."),)
    if pinned.key == build.key(made):
        return ()
    found = [*_source(pinned.source, made.source), *_tools(locked.toolchain, made.toolchain)]
    rest = "its tensors, goldens, export options, steps or the exporter's code are not those that were locked"
    return tuple(_finding(made, "rebuild-input", message, _INPUT) for message in found or [rest])


def _source(before: build.Resolved, after: build.Resolved) -> Iterator[str]:
    if before.kind != after.kind:
        yield f"its source is {after.kind}, locked {before.kind}"
        return
    for name in sorted(before.identity.keys() | after.identity.keys()):
        first, second = before.identity.get(name), after.identity.get(name)
        if first != second:
            yield f"source.{before.kind}.{name} is {_shown(second)}, locked {_shown(first)}"
    for name in sorted(before.files.keys() | after.files.keys()):
        first, second = before.files.get(name), after.files.get(name)
        if first != second:
            yield f"the source's file {name} has sha256 {_shown(second)}, locked {_shown(first)}"


def _tools(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name, version in sorted(after.items()):
        if before.get(name) != version:
            yield f"{name} is {version}, locked {_shown(before.get(name))}"


def outputs(built: build.Built, pinned: lock.Version) -> dict[str, str]:
    """The files whose bytes are not the locked ones, each in words; the golden among them. Of a format that has other
    bytes each time the golden alone is compared."""
    named: dict[str, tuple[str | None, str | None]] = {}
    if pinned.reproducible:
        for name in sorted(pinned.files.keys() | built.files.keys()):
            before, after = pinned.files.get(name), built.files.get(name)
            named[name] = (before.sha256 if before else None, after.sha256 if after else None)
    named["golden"] = (pinned.golden, built.golden)
    return {
        name: f"{name} has sha256 {_shown(after)}, locked {_shown(before)}"
        for name, (before, after) in named.items()
        if before != after
    }


def output(made: build.Build, message: str) -> findings.Finding:
    """The finding for a file that came out otherwise."""
    return _finding(made, "rebuild-differs", message, _OUTPUT)


def records(new: lock.Lock, old: lock.Lock, *, whole: bool) -> tuple[findings.Finding, ...]:
    """What else the lock of a rebuild says otherwise: configs, files beside them, the toolchain. One of the `whole`
    spec has the root digest too."""
    found = tuple(_records(new, old))
    if found or not whole or new.digest == old.digest:
        return found
    gone = ", ".join(sorted(old.models.keys() - new.models.keys()))
    message = f"its root digest is {new.digest}, locked {old.digest}" + (f": the spec has no {gone}" if gone else "")
    return (findings.Finding(rule="rebuild-record", message=message, hint="Lock it anew with `export`."),)


def _records(new: lock.Lock, old: lock.Lock) -> Iterator[findings.Finding]:
    for name, model in sorted(new.models.items()):
        before = old.models.get(name)
        if before is None:
            continue
        for word, first, second in (
            ("config.pbtxt has sha256", before.config, model.config),
            ("its files beside the config are", before.beside, model.beside),
        ):
            if first != second:
                message = f"{word} {_shown(second)}, locked {_shown(first)}"
                hint = "The spec has changed since it was locked: run `export`, and look at what the lock says then."
                yield findings.Finding(rule="rebuild-record", message=message, hint=hint, model=name)
    for message in _tools(old.toolchain, new.toolchain):
        yield findings.Finding(rule="rebuild-record", message=message, hint="Lock it anew with `export`.")


def _finding(made: build.Build, rule: str, message: str, hint: str) -> findings.Finding:
    return findings.Finding(rule=rule, message=message, hint=hint, model=made.model, version=made.version)


def _shown(value: Any) -> str:  # noqa: ANN401 - what JSON has
    if value is None:
        return "none"
    return value if isinstance(value, str) else msgspec.json.encode(msgspec.to_builtins(value)).decode()
