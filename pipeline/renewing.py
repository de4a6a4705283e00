"""The commands that prove what is pinned, and bring it forward. Each is a call of `reconcile`, as those in `cli`."""

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


def update(options: argparse.Namespace, screen: Screen) -> int:
    """Tells what is newer and fits, and edits the spec unless it is only to be told."""
    wanted = reconcile.Asked(driver=options.driver, gpus=tuple(options.gpu), models=tuple(options.model))
    site = asked.site(options, screen)
    found = reconcile.look(site, options.spec, wanted)
    made = found if options.check or not found.updates else reconcile.update(site, options.spec, found)
    screen.warn(made.findings)
    screen.show(render.show_updates(made, colour=screen.colour), made)
    return errors.Exit.PENDING if options.check and made.updates else errors.Exit.FINE
