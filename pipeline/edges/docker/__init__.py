"""The docker runtime's edge: an engine, its images, and the containers of this project on it.

What other rooms may use is named here; how it is done lies in the modules: `engine` connects and translates refusals,
`form` is the API's form of a container, `containers` and `images` do the work, `server` is the runtime that stands on
them, `build` makes the CPU image, `probe` asks an image what it is.
The SDK is imported when an engine is asked for something, never before.
"""

from pipeline.edges.docker.engine import Engine, Facts, connect, facts
from pipeline.edges.docker.form import State, explain
from pipeline.edges.docker.images import CPU, Image, digest, pull
from pipeline.edges.docker.images import find as find_image
from pipeline.edges.docker.server import (
    Launch,
    alive,
    answering,
    differences,
    find,
    fingerprint,
    kill,
    listening,
    log,
    lost,
    processes,
    start,
    stop,
    strangers,
    tidy,
    trouble,
    wanted,
)

__all__ = [
    "CPU",
    "Engine",
    "Facts",
    "Image",
    "Launch",
    "State",
    "alive",
    "answering",
    "connect",
    "differences",
    "digest",
    "explain",
    "facts",
    "find",
    "find_image",
    "fingerprint",
    "kill",
    "listening",
    "log",
    "lost",
    "processes",
    "pull",
    "start",
    "stop",
    "strangers",
    "tidy",
    "trouble",
    "wanted",
]
