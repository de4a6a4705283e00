"""Builds that several tests need: exported once, and copied into the store of every further project that asks for them.

A build's key has all that shapes its bytes, and no path: what one project has built, another may take. Tests of exports
do not use this.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pipeline import edges, reconcile
from pipeline.core import build
from pipeline.reconcile import goals

_KEPT = tempfile.TemporaryDirectory(prefix="tests-builds-", ignore_cleanup_errors=True)
"""Of the whole run of the tests; removed at its end."""


def bring(root: Path) -> None:
    """Puts the builds that a project's spec asks for into its store, as far as there are any."""
    store = root / ".pipeline/store"
    for key in _keys(root):
        if (known := Path(_KEPT.name, key)).is_dir() and not (store / key).exists():
            shutil.copytree(known, store / key)


def keep(root: Path) -> None:
    """Keeps what a project has built, for others."""
    for key in _keys(root):
        kept = Path(_KEPT.name, key)
        if not kept.exists():
            shutil.copytree(root / ".pipeline/store" / key, kept)


def _keys(root: Path) -> list[str]:
    place = edges.Project(spec=root / "pipeline.yaml")
    site = reconcile.visit(place, name="pipeline.yaml", models=(), say=lambda _: None)
    return [build.key(each) for each in goals.builds(site).values()]
