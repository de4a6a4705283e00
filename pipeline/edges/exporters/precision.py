"""A torch model that computes with fewer bits than its weights have; the model itself stays as it is. Needs torch."""

from __future__ import annotations

import copy
import warnings

import torch

from pipeline.core import build

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def dtype(made: build.Build) -> torch.dtype | None:
    """The type that the exported model computes in; None for its own."""
    return _DTYPES.get(made.export.precision) if made.export else None


def lower(model: torch.nn.Module, made: build.Build) -> torch.nn.Module:
    """A copy of the model in the precision that the export asks for, or the model itself where it asks for none.

    int8 is dynamic: the weights of linear layers are integers, what they are multiplied by becomes so in each run.
    """
    kind = dtype(made)
    if kind is not None:
        return copy.deepcopy(model).to(kind)
    if made.export is not None and made.export.precision == "int8":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch names a package that replaces it, and still has it
            return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    return model
