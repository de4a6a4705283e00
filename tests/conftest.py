"""What every test stands on."""

import os
import signal

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Ctrl-C means what it means in a terminal, also where whoever runs the tests has left it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of commands are run: with the bytecode that Python keeps for users, and not compiled again by each of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example takes is the machine's business: on a busy one the first import alone is longer than the limit.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


class Groups(LoadScopeScheduling):
    """The tests of one file run in one process, as they share what they stand on; so do all that ask a Docker engine,
    as they count what is on it."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "engine" if file.startswith("tests/real/test_docker") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """How tests are given to processes (pytest-xdist's hook)."""
    return Groups(config, log)
