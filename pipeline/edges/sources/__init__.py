"""Sources: where weights and code come from, one module a kind, the table KINDS their only registry.

Each kind has three functions. `resolve` pins a declared source down, without the network unless it is asked to be
online, and `fetch` brings the bytes; both run in the core environment. `load` makes the torch module, in the export
process, with its heavy imports inside. `warm` comes before it, while Python can still keep what it compiles.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pipeline import edges
from pipeline.core import build, spec
from pipeline.edges.sources import config, factory, file, hub, path, request, weights, wheel

if TYPE_CHECKING:
    import torch

KINDS: dict[str, ModuleType] = {
    "config": config,
    "wheel": wheel,
    "path": path,
    "hub": hub,
    "factory": factory,
    "file": file,
}


def resolve(  # noqa: PLR0913 - what a source may depend on, each by its name
    source: spec.Source,
    *,
    root: Path,
    cache: Path,
    locked: build.Resolved | None,
    online: bool,
    digest_file: Callable[[Path], str],
) -> build.Resolved:
    """Pin a source down: what the lock records, and what the build key is made of.

    Raises errors.PipelineError when a local file is not what it must be, or when a hub revision is not pinned in
    `locked` and `online` is False; errors.Unverified when a declared digest does not hold.
    """
    kind = spec.kind(source)
    asked = request.Request(root=root, cache=cache, locked=locked, online=online, digest_file=digest_file)
    resolved: build.Resolved = KINDS[kind].resolve(getattr(source, kind), asked)
    return resolved


def fetch(resolved: build.Resolved, *, root: Path, cache: Path, say: edges.Say) -> Path | None:
    """Bring the bytes of a resolved source: the folder or the file that has them, checked by digest.

    None for a source that needs none (`config`). What is in the cache is not brought again. Raises
    errors.Unverified where the bytes are not the recorded ones, errors.PipelineError where they cannot be had.
    """
    found: Path | None = KINDS[resolved.kind].fetch(resolved, root, cache, say)
    return found


def licence(resolved: build.Resolved, *, root: Path, cache: Path, say: edges.Say) -> str:
    """The licence that the source itself names; empty where it names none. May bring the source, as `fetch` does."""
    told = getattr(KINDS.get(resolved.kind), "licence", None)
    return str(told(resolved, root, cache, say)) if told else ""


def bring_wheel(identity: Mapping[str, str], *, cache: Path, say: edges.Say) -> Path:
    """A wheel of the package index by name, version and sha256, checked by digest. Raises as `fetch` does."""
    return wheel.bring(identity, cache, say)


def warm(resolved: build.Resolved, folder: Path | None) -> None:
    """Imports the libraries that `load` will need, and runs nothing of the source. What is wrong with it, `load` says.

    For the export process, before it is shut in: afterwards Python could not write bytecode beside the libraries, and
    would compile them again at each export.
    """
    gc.disable()  # looking for garbage among what an import makes, all of which stays, costs a fifth of it
    import torch  # noqa: F401, PLC0415

    if resolved.kind not in {"factory", "file"}:
        weights.warm(folder, resolved.identity.get("architecture"))
    gc.freeze()
    gc.enable()


def load(resolved: build.Resolved, folder: Path | None, *, root: Path) -> torch.nn.Module:
    """The eager model, in eval mode; weights of transformers in float32. `folder` is what `fetch` gave.

    For the export process: needs torch. Raises errors.PipelineError for what the user can mend.
    """
    module: torch.nn.Module = KINDS[resolved.kind].load(resolved, folder, root)
    return module
