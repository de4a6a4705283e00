"""The rules of a whole document, of a model, and of its config's fields: what has the right shape and cannot be meant.

The tensors have their own rules in `tensors`, the sources in `sources`. A fault here is what Triton, or the project,
refuses. `advice` has warnings and `newer` what came after a release: only `validate` asks for these, so that nobody
else waits for their imports. Other rooms import this package and these two, not its other parts.
"""

from pipeline.core.rules.fields import faults as fields
from pipeline.core.rules.model import document, model, target_of
from pipeline.core.rules.steps import faults as steps

__all__ = ["document", "fields", "model", "steps", "target_of"]
