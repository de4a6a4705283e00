"""What the arguments of a command name: a project, the site that was read of it, a cache."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline import edges, reconcile
from pipeline.screen import Screen


def project(options: argparse.Namespace) -> edges.Project:
    """The project of the spec that --spec names."""
    return edges.Project(spec=Path(options.spec).absolute())


def site(options: argparse.Namespace, screen: Screen) -> reconcile.Site:
    """The project with its spec and lock, and the models that --model names."""
    named = str(Path(options.spec))
    return reconcile.visit(project(options), name=named, models=tuple(options.model), say=screen.say)


def applied(options: argparse.Namespace, screen: Screen) -> reconcile.Site:
    """What was applied last: spec and lock may be broken by now, and going back must still be possible."""
    return reconcile.visit_applied(project(options), say=screen.say)


def shared(options: argparse.Namespace) -> reconcile.Shared:
    """The cache that --cache names, and whether it is written."""
    return reconcile.Shared(address=options.cache, push=options.push)
