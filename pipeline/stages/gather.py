"""Gather: puts into the store what nobody exports: finished versions that cannot be asked, and files beside configs.

Each is copied and checked by its digest. No process is started, and torch is not needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pipeline import edges
from pipeline.core import build, errors, warmup
from pipeline.edges import files, finished, rows, sources, store

NOTHING = b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "
"""A safetensors file without a tensor: the golden of what nobody can ask."""


def versions(
    missing: Mapping[str, build.Build], *, project: edges.Project, stored: store.Store, say: edges.Say
) -> None:
    """Puts finished versions into the store, with the wheels that lie beside their files.

    Raises Unverified where a file is not what the spec names, PipelineError where a wheel cannot be had or put there.
    """
    for key, made in missing.items():
        say(f"copying {made.model} version {made.version}")
        with stored.stage() as aside:
            parts = finished.copies(made.source) if made.source.kind == "file" else ()
            copied = {name: finished.copy(project.root / path, aside / name, sha256) for name, path, sha256 in parts}
            for identity in made.source.identity.get("wheels", ()):
                wheel = sources.bring_wheel(identity, cache=project.sources, say=say)
                copied |= finished.unpack(wheel, aside, f"{identity['name']} {identity['version']}")
            _publish(key, aside, copied, stored)


def besides(
    missing: Mapping[str, build.Beside], *, project: edges.Project, stored: store.Store, say: edges.Say
) -> None:
    """Puts the files beside configs into the store: the declared ones, and rows of goldens for warm-ups.

    The goldens' own builds must be there. Raises Unverified where a file is not what it was.
    """
    for key, made in missing.items():
        say(f"copying the files of {made.model}")
        with stored.stage() as aside:
            copied = {
                name: finished.copy(project.root / made.sources[name], aside / name, sha256)
                for name, sha256 in made.files.items()
            }
            shapes: dict[str, tuple[int, ...]] = {}
            for name, row in _rows(made, stored).items():
                file = f"{warmup.FOLDER}/{made.rows[name]}"
                files.write(aside / file, row.data)
                copied[file] = build.File(sha256=hashlib.sha256(row.data).hexdigest(), size=len(row.data))
                shapes[name] = row.shape
            _publish(key, aside, copied, stored, shapes)


def _rows(made: build.Beside, stored: store.Store) -> dict[str, rows.Row]:
    """A row of each input, out of the goldens of the build that has them."""
    if made.golden is None:
        return {}
    if stored.get(made.golden) is None:
        msg = f"the goldens that {made.model} is warmed up with are not built"
        raise errors.PipelineError(msg, hint="Run `export` without --model, or with this model too.")
    return rows.read(stored.path(made.golden) / store.GOLDEN, tuple(made.rows), batched=made.batched)


def _publish(
    key: str,
    aside: Path,
    copied: dict[str, build.File],
    stored: store.Store,
    shapes: dict[str, tuple[int, ...]] | None = None,
) -> None:
    files.write(aside / store.GOLDEN, NOTHING)
    golden = hashlib.sha256(NOTHING).hexdigest()
    stored.publish(key, aside, build.Built(key=key, files=copied, golden=golden, rows=shapes or {}))
