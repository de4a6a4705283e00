"""`python -m pipeline`."""

import gc
import sys

from pipeline import cli

# A run is short and makes few cycles: looking for them among a thousand models' data costs a tenth of a plan.
gc.set_threshold(100_000)
sys.exit(cli.main(sys.argv[1:]))
