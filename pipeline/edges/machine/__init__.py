"""This machine: what a server needs of it, probed without an engine or a GPU being there.

Other rooms import this package, not its parts: `probing` asks everything at once within a time limit, `engine` the
Docker engine, `here` all the rest. Nothing is changed, and what cannot be found out is said, each by itself.
"""

from pipeline.edges.machine.engine import ask as ask_engine
from pipeline.edges.machine.here import driver
from pipeline.edges.machine.probing import LIMIT, has_gpu, probe

__all__ = ["LIMIT", "ask_engine", "driver", "has_gpu", "probe"]
