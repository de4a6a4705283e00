"""The `config` source: an architecture of transformers with seeded random weights. Nothing is downloaded."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import edges
from pipeline.core import build, errors, spec
from pipeline.edges.sources import request, weights

if TYPE_CHECKING:
    import torch

DERIVED = ("num_labels", "attn_implementation")
"""Options that transformers takes without their being fields of the configuration."""


def resolve(declared: spec.ConfigSource, asked: request.Request) -> build.Resolved:  # noqa: ARG001 - one shape for all
    """Architecture, options and seed say everything."""
    identity = {"architecture": declared.architecture, "options": declared.options, "seed": declared.seed}
    return build.Resolved(kind="config", identity=identity)


def fetch(resolved: build.Resolved, root: Path, cache: Path, say: edges.Say) -> None:
    """There is nothing to bring."""


def load(resolved: build.Resolved, folder: Path | None, root: Path) -> torch.nn.Module:  # noqa: ARG001
    """The architecture with weights drawn from the seed. Raises errors.PipelineError naming a wrong option."""
    import torch  # noqa: PLC0415

    made = weights.architecture(resolved.identity["architecture"])
    configuration = _configuration(made.config_class, resolved.identity["options"])
    torch.manual_seed(resolved.identity["seed"])
    module: torch.nn.Module = made(configuration).float().eval()
    return module


def _configuration(made: Any, options: dict[str, Any]) -> Any:  # noqa: ANN401 - transformers has no types here
    known = {name for kind in made.__mro__ for name in getattr(kind, "__annotations__", {})}
    known |= {*vars(made()), *getattr(made, "attribute_map", {}), *DERIVED}
    for name in options:
        if name not in known or name.startswith("_"):
            near = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"Did you mean `{near[0]}`?" if near else f"See the fields of transformers.{made.__name__}."
            msg = f"{made.__name__} has no option `{name}`"
            raise errors.PipelineError(msg, hint=hint)
    try:
        return made(**options)
    except Exception as error:
        msg = f"{made.__name__} refused its options: {error}"
        raise errors.PipelineError(msg, hint="Correct source.config.options.") from error
