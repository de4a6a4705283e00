"""Serve: moves the running Triton to what is wanted, and returns when every version answers a real inference.

What is wanted was decided before; which process, and how it is asked, is the edges' business. `starting` brings up a
new server, `changing` the running one to what is wanted, `proof` says when either has got there.
"""

from pipeline.stages.serve.changing import NEXT, change, gapless, recover, serve
from pipeline.stages.serve.starting import candidate, start

__all__ = ["NEXT", "candidate", "change", "gapless", "recover", "serve", "start"]
