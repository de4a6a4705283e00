"""What every test stands on."""

import os
import signal

import hypothesis

# Ctrl-C means what it means in a terminal, also where whoever runs the tests has left it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of commands are run: with the bytecode that Python keeps for users, and not compiled again by each of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example takes is the machine's business: on a busy one the first import alone is longer than the limit.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")
