"""The order and the names in which an artifact takes and gives its tensors: the rules of NVIDIA's PyTorch backend.

As its README has them: inputs match by name where every name is an argument of forward(); else, where all names are
`<any>__<integer>`, by that integer; else in the order of the config. Outputs follow the last two.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

from pipeline.core import build, errors, platforms

_NUMBERED = re.compile(r".*__([0-9]+)", re.DOTALL)


def inputs(made: build.Build) -> list[tuple[str, str]]:
    """The declared inputs as (name, argument name) in the order of the artifact's forward()."""
    names = list(made.inputs)
    if not _positional(made):
        return [(name, f"argument_{position}") for position, name in enumerate(names)]
    if all(name.isidentifier() and not keyword.iskeyword(name) and name != "self" for name in names):
        return [(name, name) for name in names]
    return [(name, f"argument_{position}") for position, name in enumerate(_ordered(names))]


def outputs(made: build.Build) -> list[str]:
    """The declared outputs in the order in which the artifact returns them."""
    return _ordered(made.outputs) if _positional(made) else list(made.outputs)


def _positional(made: build.Build) -> bool:
    """Whether the backend goes by positions at all; others find each tensor by its name."""
    return made.export is None or platforms.METHODS[made.export.method].positional


def _ordered(names: Iterable[str]) -> list[str]:
    """By number where all are numbered 0, 1, 2, ..., else as declared. Raises errors.PipelineError for gaps."""
    names = list(names)
    found = [_NUMBERED.fullmatch(name) for name in names]
    if not all(found):
        return names
    places = {int(match[1]): name for match, name in zip(found, names, strict=True) if match}
    if sorted(places) != list(range(len(names))):
        msg = f"tensors {', '.join(names)} are numbered {sorted(places)}; Triton takes these as positions"
        raise errors.PipelineError(msg, hint=f"Number them 0 to {len(names) - 1}, without gaps or repeats.")
    return [places[place] for place in sorted(places)]
