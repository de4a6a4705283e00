"""The program as a list of calls: observe, lay out, diff, plan; export, lock, assemble, serve, verify; deploy.

`site` reads a project, `adopting` makes a spec of a repository, `beginning` a whole new project. `goals` says what
should be and compares it with what is, `planning` makes plans of that, `disk` changes files, `sharing` asks a cache of
others, `proving` tries models out apart, `deploy` moves the live server from one release to another, `asking` asks it,
`watching` does it again and again, `judging` says what fits, `rebuilding` proves the lock, `updating` brings it
forward, `showing` makes what is used elsewhere, and `attesting` what others can hold a repository against. Other rooms
import this package, not its parts.
"""

from pipeline.edges.failpoints import POINTS as FAILPOINTS
from pipeline.reconcile.adopting import Wanted
from pipeline.reconcile.adopting import take as adopt
from pipeline.reconcile.asking import status, verify
from pipeline.reconcile.asking import write as write_report
from pipeline.reconcile.attesting import attest, sign
from pipeline.reconcile.beginning import Start, begin
from pipeline.reconcile.deploy import Allowed, apply, heal, rollback, serve
from pipeline.reconcile.disk import assemble, down, export, gc, recover
from pipeline.reconcile.judging import Asked, examine, judge
from pipeline.reconcile.planning import Planned, load_plan, make_plan, needs, save
from pipeline.reconcile.rebuilding import rebuild
from pipeline.reconcile.sharing import Shared
from pipeline.reconcile.showing import make_image, render, warnings
from pipeline.reconcile.site import Site, history, locate, visit, visit_applied, writing
from pipeline.reconcile.updating import look, update
from pipeline.reconcile.watching import Watching, watch

__all__ = [
    "FAILPOINTS",
    "Allowed",
    "Asked",
    "Planned",
    "Shared",
    "Site",
    "Start",
    "Wanted",
    "Watching",
    "adopt",
    "apply",
    "assemble",
    "attest",
    "begin",
    "down",
    "examine",
    "export",
    "gc",
    "heal",
    "history",
    "judge",
    "load_plan",
    "locate",
    "look",
    "make_image",
    "make_plan",
    "needs",
    "rebuild",
    "recover",
    "render",
    "rollback",
    "save",
    "serve",
    "sign",
    "status",
    "update",
    "verify",
    "visit",
    "visit_applied",
    "warnings",
    "watch",
    "write_report",
    "writing",
]
