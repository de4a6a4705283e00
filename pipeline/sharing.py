"""The commands whose results are for others: where a build comes from, and a signature over it.

Each is a call of `reconcile` like those in `cli`, which knows them by its table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pipeline import edges, reconcile
from pipeline import screen as screens
from pipeline.core import errors


def provenance(options: argparse.Namespace, screen: screens.Screen) -> int:
    """Writes the documents about where the build comes from, or prints the statement."""
    out = Path(options.out) if options.out else None
    made = reconcile.attest(_site(options, screen), out=out, builder=options.builder)
    text = made.statement.decode()
    if out is not None:
        text = "".join(f"Wrote {out / name}\n" for name in made.files)
    screen.show(text, {"statement": json.loads(made.statement), "bom": json.loads(made.bom)})
    return errors.Exit.FINE


def sign(options: argparse.Namespace, screen: screens.Screen) -> int:
    """Signs the repository as it lies."""
    with reconcile.writing(_site(options, screen), options.command) as site:
        changed = reconcile.sign(site, Path(options.key))
        name = site.project.signature.name
    text = f"Signed the repository: commit {name}.\n" if changed else f"{name} holds already.\n"
    screen.show(text, {"signed": changed, "signature": name})
    return errors.Exit.FINE


def _site(options: argparse.Namespace, screen: screens.Screen) -> reconcile.Site:
    project = edges.Project(spec=Path(options.spec).absolute())
    return reconcile.visit(project, name=str(Path(options.spec)), models=tuple(options.model), say=screen.say)
