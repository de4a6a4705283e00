"""A model whose config's fields are judged: what the parts of `fields` are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from pipeline.core import backends, config, spec, tree


def is_finished(entry: spec.ModelEntry) -> bool:
    """Whether every version of a model is a finished `file`: no export decides what runs it."""
    sources = [override.source for override in entry.versions.values() if override and override.source]
    if entry.source == "ensemble":
        return False
    return set(spec.kinds(entry.source)) == {"file"} and all(source.keys() <= {"file"} for source in sources)


def open_keys(entry: spec.ModelEntry) -> frozenset[str]:
    """The fields that `config:` may say of this model, though an export decides them for others."""
    return config.OPEN if is_finished(entry) else frozenset()


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One model as written, its config's fields of the right shape. `path` is the model's in the tree; `target` is None
    where that part of the spec is faulty; `models` are all of the spec but those that are `unread`, being faulty."""

    entry: spec.ModelEntry
    target: spec.Target | None
    path: tree.Path
    models: Mapping[str, spec.ModelEntry] = {}
    unread: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.path[1])

    @property
    def config(self) -> dict[str, Any]:
        """The further fields that were written."""
        return self.entry.config

    @property
    def backend(self) -> str:
        """The backend that runs it; empty where only the files in its versions say so."""
        return backends.of(self.entry)

    def fault(self, rule: str, message: str, *steps: str | int, hint: str = "", on_key: bool = False) -> tree.Fault:
        """A fault at a field of the config."""
        return tree.Fault(path=(*self.path, "config", *steps), rule=rule, message=message, hint=hint, on_key=on_key)


def lists(data: dict[str, Any], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The messages of a repeated field, each with its position."""
    yield from enumerate(data.get(name, ()))
