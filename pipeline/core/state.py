"""State: files and server as they are or should be, in one type for both, so that `diff` compares like with like."""

from __future__ import annotations

from typing import Any

import msgspec


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model's folder in the repository.

    `files` maps paths relative to the folder (`config.pbtxt`, `1/model.pt`) to their sha256. `config` is the
    ModelConfig as plain data with protobuf field names, or None where nobody needed it. `digest` is the value of
    the `pipeline_digest` parameter: of the desired model, or as the config on disk claims; None where there is none.
    `entries` maps the desired version numbers to the keys of the store entries that their files come from.
    """

    name: str
    files: dict[str, str]
    digest: str | None = None
    config: dict[str, Any] | None = None
    entries: dict[int, str] = {}


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a running server reports it: the digest in its live config, and its READY versions."""

    digest: str | None
    versions: tuple[int, ...]


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A running server. `fingerprint` is the digest of everything that only a new server can change."""

    runtime: str
    fingerprint: str
    models: dict[str, Live]


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is compared: the store's entries by build key, the repository's models, the server.

    `server` is None where none runs (observed) or none is asked for (desired). `strangers` are folders of the
    repository that the pipeline did not make. `locked` maps `model/version` to the build key that the lock pins.
    """

    store: frozenset[str]
    models: dict[str, Model]
    server: Server | None = None
    strangers: tuple[str, ...] = ()
    locked: dict[str, str] = {}
