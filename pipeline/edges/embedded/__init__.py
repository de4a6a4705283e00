"""The embedded runtime: the real `tritonserver` as a process of this machine, detached, on the loopback address.

What other rooms may use is named here; how it is done lies in the modules: `toolkit` finds and lays out the programs,
`launch` says how the server is started, `record` which process is ours, `server` starts and stops, `handover` lets one
take another's place without a failed request, `log` reads.
"""

from pipeline.edges.embedded import handover
from pipeline.edges.embedded.launch import Launch, fingerprint
from pipeline.edges.embedded.log import Fault, faults, loading, reason, tail
from pipeline.edges.embedded.ports import free as free_ports
from pipeline.edges.embedded.record import Loaded, Running, find, processes, recorded, remember
from pipeline.edges.embedded.server import adopt, alive, answering, kill, listening, start, stop, tidy
from pipeline.edges.embedded.toolkit import backends

__all__ = [
    "Fault",
    "Launch",
    "Loaded",
    "Running",
    "adopt",
    "alive",
    "answering",
    "backends",
    "faults",
    "find",
    "fingerprint",
    "free_ports",
    "handover",
    "kill",
    "listening",
    "loading",
    "processes",
    "reason",
    "recorded",
    "remember",
    "start",
    "stop",
    "tail",
    "tidy",
]
