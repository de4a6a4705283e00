"""Failpoints: named places where a test makes a run fail. Without the variable nothing ever happens here.

PIPELINE_FAILPOINT=NAME:kill ends the process as `kill -9` does, NAME:raise fails the step, NAME:sleep=SECONDS holds it.
"""

from __future__ import annotations

import os
import signal
import time

from pipeline.core import errors

VARIABLE = "PIPELINE_FAILPOINT"
POINTS = {
    "plan": "before the states are compared",
    "fetch": "before sources are resolved and fetched",
    "export": "before missing artifacts are built",
    "prove": "before changed models are tried in a server of their own",
    "assemble": "before the first folder is swapped",
    "load": "before the live server is changed",
    "verify": "before the live server is asked",
    "commit": "before lock and release are written",
    "committed": "after lock and release are written",
}
"""Every place, in the order in which `apply` passes it. The hidden command `failpoints` lists them."""


def reach(name: str) -> None:
    """Tells that a run has got to a place. Raises PipelineError where a test wants it so."""
    if name not in POINTS:
        msg = f"{name} is no failpoint"
        raise KeyError(msg)
    where, _, act = os.environ.get(VARIABLE, "").partition(":")
    if where != name:
        return
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "raise":
        msg = f"failpoint {name}"
        raise errors.PipelineError(msg, hint=f"{VARIABLE} is set.")
    if act.startswith("sleep="):
        time.sleep(float(act.removeprefix("sleep=")))
