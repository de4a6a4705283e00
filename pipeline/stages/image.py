"""Image: the CPU image of docker/Dockerfile on the engine, from a base that is pinned down first."""

from __future__ import annotations

from pipeline import edges
from pipeline.core import documents
from pipeline.edges import docker
from pipeline.edges.docker import build
from pipeline.edges.embedded import toolkit

_PULL = 600.0
"""Seconds for the base: some 50 MB."""


def build_image(project: edges.Project, base: str, *, say: edges.Say) -> documents.CpuImage:
    """The image, built from `base` where the engine has none of the same inputs.

    Raises Unfit without an engine, or where the base or the wheels cannot be got.
    """
    with docker.connect() as engine:
        ground = docker.find_image(engine, base) or docker.pull(engine, base, limit=_PULL, say=say)
    pinned = next(iter(ground.digests), ground.id)
    say(f"the base {base} is {pinned}")
    wheels = project.state / "image" / "wheels"
    made = build.parts(build.HOME, wheels, toolkit.ours(), base=ground.id, say=say)
    found = build.image(made, say=say)
    inputs = found.labels.get(build.INPUTS, "")
    return documents.CpuImage(tag=build.TAG, id=found.id, base=pinned, inputs=inputs, size=found.size)
