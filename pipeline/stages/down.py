"""Down: stops the server, after the requests in flight were answered."""

from __future__ import annotations

from pipeline import edges
from pipeline.edges import runtimes


def down(project: edges.Project, *, say: edges.Say) -> bool:
    """Stops the project's server and removes what is its own; whether one ran.

    What a dead server left (processes, shared memory, a container, the record) is removed too. Raises PipelineError
    where the record is damaged, Unfit where a container is recorded and no engine answers.
    """
    running = runtimes.find(project.run)
    if running is None:
        runtimes.tidy(project.run)
        return False
    runtimes.of(running).stop(running, timeout=running.stop_timeout, say=say)
    return True
