"""The embedded runtime: the real `tritonserver` as a process of this machine, detached, on the loopback address.

What other rooms may use is named here; how it is done lies in the modules: `toolkit` finds and lays out the programs,
`launch` says how the server is started, `server` starts, finds and stops it.
"""

from pipeline.edges.embedded.launch import Launch, fingerprint
from pipeline.edges.embedded.server import (
    alive,
    answering,
    find,
    kill,
    listening,
    log,
    lost,
    processes,
    start,
    stop,
    tidy,
)
from pipeline.edges.embedded.toolkit import backends

__all__ = [
    "Launch",
    "alive",
    "answering",
    "backends",
    "find",
    "fingerprint",
    "kill",
    "listening",
    "log",
    "lost",
    "processes",
    "start",
    "stop",
    "tidy",
]
