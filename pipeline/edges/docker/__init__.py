"""The docker runtime's edge: an engine, its images, and the containers of this project on it.

What other rooms may use is named here; how it is done lies in the modules: `engine` connects and translates refusals,
`form` is the API's form of a container, `containers` and `images` do the work, `build` makes the CPU image, `probe`
asks an image what it is.
The SDK is imported when an engine is asked for something, never before.
"""

from pipeline.edges.docker.containers import Found, Memory, find, logs, look, memory, processes, remove, run, stop
from pipeline.edges.docker.engine import Engine, Facts, connect, facts
from pipeline.edges.docker.form import State, explain
from pipeline.edges.docker.images import Image, pull
from pipeline.edges.docker.images import find as find_image
from pipeline.edges.docker.probe import tell

__all__ = [
    "Engine",
    "Facts",
    "Found",
    "Image",
    "Memory",
    "State",
    "connect",
    "explain",
    "facts",
    "find",
    "find_image",
    "logs",
    "look",
    "memory",
    "processes",
    "pull",
    "remove",
    "run",
    "stop",
    "tell",
]
