"""Gc: removes from the store what no release in use names, and from the quarantine what nobody will look at again.

Fetched sources stay: a build without network needs them, and only their own edges know which source is which folder.
"""

from __future__ import annotations

from functools import partial

from pipeline import edges
from pipeline.core import errors
from pipeline.edges import store


def gc(project: edges.Project, stored: store.Store, keep: frozenset[str], *, say: edges.Say) -> tuple[str, ...]:
    """Removes every store entry, whole or torn, whose key is not in `keep`, and what lies in quarantine of such keys;
    of a key in use the newest damaged entry stays there. Returns the paths that went, relative to the project; `say`
    gets each with its size, and the sum.

    Only for the holder of the writer lock. Raises PipelineError where `keep` is empty and the store is not: that
    comes of a lost lock more often than of a wish.
    """
    entries = stored.entries()
    if entries and not keep:
        msg = "no lock names any artifact, so everything in the store would go"
        hint = f"Run `export` first, or remove {project.store} by hand if that is meant."
        raise errors.PipelineError(msg, hint=hint)
    gone: list[str] = []
    total = 0
    for path, remove in (
        *((stored.path(key), partial(stored.remove, key)) for key in sorted(entries - keep)),
        *((stored.quarantined / name, partial(stored.purge, name)) for name in stored.stale(keep)),
    ):
        size = remove()
        total += size
        gone.append(str(path.relative_to(project.root)))
        say(f"removed {gone[-1]} ({size / 1e6:.1f} MB)")
    if gone:
        say(f"{total / 1e6:.1f} MB freed")
    return tuple(gone)
