"""What the tests on real servers share: one project that is live and has two states to go between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.edges import docker
from tests import engine as engines
from tests.real import between


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[between.Place]:
    """The project. Whoever takes it begins with `start`, which sets right what another test left."""
    made = between.Place(tmp_path_factory.mktemp("between") / "project")
    yield made
    made.project.good("down")


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.Engine]:
    """A Docker engine."""
    with engines.reach() as found:
        yield found


@pytest.fixture(scope="session")
def image(engine: docker.Engine) -> docker.Image:
    """The CPU image on the engine."""
    return engines.cpu_image(engine)
