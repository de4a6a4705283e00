"""What runs a model: the backends that configs, the usual names of files, and exports speak of.

As Triton's core fills them in (`AutoCompleteBackendFields` in its model_config_utils.cc), whether or not a backend may
complete the rest of a config. What a backend is called, and what its files are, stands in `platforms`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from pipeline.core import platforms, spec

ENSEMBLE: Final = "ensemble"
BACKENDS = {**{each.platform: each.backend for each in platforms.KNOWN if each.platform}, ENSEMBLE: ENSEMBLE}
FILES = {each.filename: each.backend for each in platforms.KNOWN}
"""The usual names, in the order in which Triton looks for them."""


def of(entry: spec.ModelEntry) -> str:
    """The backend of a model as written: by its config, by the usual names of its files, or by its export; empty
    where a finished folder says nothing."""
    if entry.source == ENSEMBLE:
        return ENSEMBLE
    file = entry.source.file
    if file is None:
        return _exported(entry)
    if file.files:
        return backend(entry.config) or FILES.get(found(entry.config, _tops(file.files)), "")
    return backend(entry.config) or (platforms.of_file(file.path) or platforms.TORCHSCRIPT).backend


def _exported(entry: spec.ModelEntry) -> str:
    """What runs an export. Versions are of one platform, so any of them tells."""
    written = (*(override.export for override in entry.versions.values() if override), entry.export)
    methods = [each if isinstance(each, str) else each.method for each in written if each is not None]
    return platforms.METHODS[methods[0]].backend if methods else platforms.TORCHSCRIPT.backend


def served(entry: spec.ModelEntry, versions: Mapping[int, spec.Version]) -> platforms.Platform | None:
    """The platform whose rules a model as written must keep; None where another thing runs it, or nobody knows what.

    Of a finished folder only positions count: what an export cannot be, a folder may.
    """
    version = next(iter(versions.values()), None)
    known = platforms.of(version) if version else platforms.TORCHSCRIPT
    if version and version.export:
        return known
    folder = version and version.source.file and version.source.file.files
    return known if of(entry) == known.backend and (known.positional or not folder) else None


def _tops(files: Collection[str]) -> set[str]:
    """What lies in a version's folder: its files, and the folders of others."""
    return {name.partition("/")[0] for name in files}


def backend(config: Mapping[str, Any]) -> str:
    """The backend that a config names: by itself, by its platform, or by its file; empty where none does."""
    named = config.get("backend") or BACKENDS.get(config.get("platform", ""), "")
    return str(named or FILES.get(config.get("default_model_filename", ""), ""))


def found(config: Mapping[str, Any], files: Collection[str]) -> str:
    """The usual file by which Triton finds a backend where the config names none; empty where none is there."""
    if backend(config) or config.get("platform"):
        return ""
    return next((name for name in FILES if name in files), "")


def told(config: Mapping[str, Any], files: Collection[str], name: str) -> bool:
    """Whether Triton knows a model's backend: by its config, by a usual file, or by a name such as `model.identity`."""
    if backend(config) or found(config, _tops(files)):
        return True
    silent = not config.get("platform") and not config.get("default_model_filename")
    return silent and "." in name


def file(config: Mapping[str, Any]) -> str:
    """The usual file of the platform that a config names; empty where it names none."""
    named = config.get("platform")
    return next((each.filename for each in platforms.KNOWN if named and each.platform == named), "")
