"""The rules of a whole document, of a model, and of its config's fields: what has the right shape and cannot be meant.

The tensors have their own rules in `tensors`, the sources in `sources`. A fault here is what Triton, or the project,
refuses; what is only to no purpose is a warning of `advice`. Other rooms import this package, not its parts.
"""

from pipeline.core.rules.advice import advice
from pipeline.core.rules.fields import faults as fields
from pipeline.core.rules.model import document, model, target_of
from pipeline.core.rules.newer import newer

__all__ = ["advice", "document", "fields", "model", "newer", "target_of"]
