"""Pulls of a real engine from a registry that moves tags, breaks off and lies (row 53)."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from pipeline.core import errors
from pipeline.edges import docker
from tests.real import registry as registries

pytestmark = pytest.mark.real


@pytest.fixture
def registry(engine: docker.Engine) -> Iterator[registries.Registry]:
    """A registry with an image for the engine's machine; what was pulled of it is removed."""
    with registries.serving(docker.facts(engine).architecture) as found:
        yield found
        for each in engine.api.images(name=f"127.0.0.1:{found.port}/tiny"):
            engine.api.remove_image(each["Id"], force=True)


def pull(engine: docker.Engine, reference: str, limit: float = 60) -> docker.Image:
    """The image."""
    return docker.pull(engine, reference, limit=limit, say=lambda _: None)


def test_a_moved_tag_and_a_pinned_digest(engine: docker.Engine, registry: registries.Registry) -> None:
    """The digest goes on naming what it named, whatever the tag names now."""
    first, pinned = pull(engine, registry.reference), registry.digest
    assert first.digests == (f"127.0.0.1:{registry.port}/tiny@{pinned}",)
    registry.publish()
    second = pull(engine, registry.reference)
    assert second.id != first.id
    assert pull(engine, f"{registry.reference}@{pinned}").id == first.id
    known = docker.find_image(engine, f"{registry.reference}@{pinned}")
    assert known
    assert known.id == first.id


def test_a_pull_that_breaks_off_goes_on(engine: docker.Engine, registry: registries.Registry) -> None:
    """A connection that is cut in the middle of a layer costs that layer, and no more."""
    registry.broken = 1
    assert pull(engine, registry.reference).digests
    assert registry.broken == 0


def test_bytes_that_are_not_what_the_digest_says(engine: docker.Engine, registry: registries.Registry) -> None:
    """A layer with another byte in it is refused, and no image is there."""
    registry.wrong = True
    with pytest.raises(errors.Unfit, match="could not pull"):
        pull(engine, registry.reference, limit=3)
    assert docker.find_image(engine, registry.reference) is None


@pytest.mark.parametrize("name", ["tiny:2", "tiny@sha256:" + "0" * 64])
def test_what_the_registry_does_not_have(engine: docker.Engine, registry: registries.Registry, name: str) -> None:
    """An unknown tag or digest is told at once."""
    with pytest.raises(errors.Unfit, match="manifest unknown") as refused:
        pull(engine, f"127.0.0.1:{registry.port}/{name}")
    assert refused.value.hint == "Check the name and the tag."


def test_no_registry(engine: docker.Engine) -> None:
    """A registry that nobody reaches is told within the limit."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(errors.Unfit, match="could not pull") as refused:
        pull(engine, f"127.0.0.1:{port}/tiny:1", limit=1.5)
    assert "the next pull goes on" in refused.value.hint


def test_another_machines_image(engine: docker.Engine, registry: registries.Registry) -> None:
    """An image of another architecture is refused before anything is started."""
    registry.architecture = "s390x"
    registry.publish()
    with pytest.raises(errors.Unfit, match="linux/s390x"):
        pull(engine, registry.reference)
