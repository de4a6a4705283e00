"""The commands that prove what is pinned. Each is one call of `reconcile`, as those in `cli`."""

from __future__ import annotations

import argparse

from pipeline import asked, reconcile
from pipeline.core import errors, render
from pipeline.screen import Screen


def rebuild(options: argparse.Namespace, screen: Screen) -> int:
    """Builds again in a clean folder, and compares with the lock."""
    with reconcile.writing(asked.site(options, screen), options.command) as site:
        made = reconcile.rebuild(site)
    screen.show(render.show_rebuilt(made), made)
    return errors.Exit.FINE
