"""What every test stands on."""

import os
import signal

import hypothesis
import pytest

# Ctrl-C means what it means in a terminal, also where whoever runs the tests has left it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of commands are run: with the bytecode that Python keeps for users, and not compiled again by each of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example takes is the machine's business: on a busy one the first import alone is longer than the limit.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of two workers each takes whole files, since the tests of one share what they stand on; those of the Docker
    engine, which there is one of, go to the same worker."""
    for item in items:
        name = item.path.stem
        item.add_marker(pytest.mark.xdist_group("docker" if name.startswith("test_docker") else name))
