"""What every test stands on."""

import signal

# Ctrl-C means what it means in a terminal, also where whoever runs the tests has left it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
