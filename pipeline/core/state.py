"""State: files and server as they are or should be, in one type for both, so that `diff` compares like with like."""

from __future__ import annotations

from typing import Any

import msgspec


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model's folder in the repository.

    `files` maps paths relative to the folder (`config.pbtxt`, `1/model.pt`) to their sha256. `config` is the
    ModelConfig as plain data with protobuf field names, or None where nobody needed it. `digest` is the value of
    the `pipeline_digest` parameter: of the desired model, or as the config on disk claims; None where there is none.
    `entries` maps the desired version numbers to the keys of the store entries that their files come from, `beside` is
    the key of those beside the config. `folder` tells the observed folder from any other that stood or will stand in
    its place.
    """

    name: str
    files: dict[str, str]
    digest: str | None = None
    config: dict[str, Any] | None = None
    entries: dict[int, str] = {}
    beside: str | None = None
    folder: str | None = None


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a running server reports it: the digest in its live config, and its READY versions.

    `folder` is the folder that it was loaded from, as far as that is recorded. `config` is the live config where it
    is not the one that was seen after the load. `fault` says what is wrong with a model that the server calls READY.
    """

    digest: str | None
    versions: tuple[int, ...]
    folder: str | None = None
    config: dict[str, Any] | None = None
    fault: str = ""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A running server. `fingerprint` is the digest of everything that only a new server can change; it is empty for
    one that runs and does not answer. `loaded` are the models that the pipeline loaded, READY or not. `failed` are the
    loads, as `model/version`, that failed and keep Triton from ever calling itself ready; empty names one that it has
    forgotten. `differs` maps options that were changed since the start to what they are and what they should be."""

    runtime: str
    fingerprint: str
    models: dict[str, Live]
    loaded: frozenset[str] = frozenset()
    failed: tuple[str, ...] = ()
    differs: dict[str, tuple[str, str]] = {}


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is compared: the store's entries by build key, the repository's models, the server.

    `server` is None where none runs (observed) or none is asked for (desired). `strangers` are folders of the
    repository that the pipeline did not make. `locked` maps `model/version` to the build key that the lock pins.
    `applied` maps the models of the release that was applied last to their digests, and `lost` says what became of a
    server that the pipeline started and did not stop. `copied` are the keys whose entries nobody exports: they are
    copies of files.
    """

    store: frozenset[str]
    models: dict[str, Model]
    server: Server | None = None
    strangers: tuple[str, ...] = ()
    locked: dict[str, str] = {}
    applied: dict[str, str] = {}
    copied: frozenset[str] = frozenset()
    lost: str = ""
