"""Serve: moves the running Triton to what is wanted, and returns when every version answers a real inference.

What is wanted was decided before; which process, and how it is asked, is the edges' business. `starting` brings up a
new server, `changing` the running one to what is wanted, `proof` says when either has got there.
"""

from pipeline.stages.serve.changing import change, recover, serve
from pipeline.stages.serve.starting import candidate, launch, start

__all__ = ["candidate", "change", "launch", "recover", "serve", "start"]
