"""The `factory` source: any torch module that a function of the user's own repository makes.

Its identity is the text of its module, of the repository's files that this imports, and of the files it declares.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import edges
from pipeline.core import build, errors, spec
from pipeline.edges.sources import request


def resolve(declared: str | spec.FactorySource, asked: request.Request) -> build.Resolved:
    """Hash the module's file, its imports inside the root, and the declared files. Runs none of them."""
    from pipeline.edges.sources import imports  # noqa: PLC0415 - ast costs more than all else here

    source = spec.FactorySource(callable=declared) if isinstance(declared, str) else declared
    code = imports.closure(source.callable.partition(":")[0], asked.root)
    names = {path.relative_to(asked.root).as_posix(): path for path in code}
    names |= {name: asked.root / name for name in source.files}
    for name, path in names.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            msg = f"{name} lies outside the spec's folder"
            raise errors.PipelineError(msg, hint="A factory may name only files under the folder of the spec.")
        request.plain_file(path, name)
    return build.Resolved(
        kind="factory",
        identity={"callable": source.callable, "options": source.options, "seed": source.seed},
        files={name: asked.digest_file(path) for name, path in sorted(names.items())},
    )


def fetch(resolved: build.Resolved, root: Path, cache: Path, say: edges.Say) -> Path:  # noqa: ARG001 - one shape for all
    """The root itself, the files checked now. Raises errors.Unverified for a file that changed meanwhile."""
    for name, digest in resolved.files.items():
        request.check(request.plain_file(root / name, name), digest, name, "The file changed: run `lock` again.")
    return root


def load(resolved: build.Resolved, folder: Path | None, root: Path) -> Any:  # noqa: ANN401, ARG001 - of any framework
    """Call the factory with its options: a torch module, or a Keras or TensorFlow model.

    Raises errors.PipelineError when it gives neither, or when it imported a file of the root that its digest does not
    cover. What the factory itself raises passes through.
    """
    import torch  # noqa: PLC0415

    sys.dont_write_bytecode = True  # the user's folder stays as it is
    before = set(sys.modules)
    sys.path.insert(0, str(root))
    make = _function(resolved.identity["callable"])
    torch.manual_seed(resolved.identity["seed"])
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(resolved.identity["seed"])
    made = make(**resolved.identity["options"])
    _check_imported(before, resolved, root)
    if {"keras", "tensorflow"} & {kind.__module__.partition(".")[0] for kind in type(made).__mro__}:
        return made
    if not isinstance(made, torch.nn.Module):
        msg = f"{resolved.identity['callable']} gave a {type(made).__name__}, not a torch.nn.Module"
        raise errors.PipelineError(msg, hint="Return the module itself.")
    return made.eval()


def _function(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    found = getattr(importlib.import_module(module), name, None)
    if not callable(found):
        msg = f"module {module} has no function {name}"
        raise errors.PipelineError(msg, hint="source.factory is `module:function`.")
    made: Callable[..., Any] = found
    return made


def _check_imported(before: set[str], resolved: build.Resolved, root: Path) -> None:
    """Code that the digest does not cover could change and leave the build key as it was."""
    home = root.resolve()
    environment = Path(sys.prefix).resolve()
    for name in sorted(set(sys.modules) - before):
        path = Path(getattr(sys.modules[name], "__file__", None) or "/").resolve()
        foreign = not path.is_relative_to(home) or path.is_relative_to(environment)
        # The pipeline's own code is part of the key by its version, wherever it is installed.
        if foreign or name.partition(".")[0] == __name__.partition(".")[0]:
            continue
        if path.relative_to(home).as_posix() not in resolved.files:
            msg = f"the factory imported {path.relative_to(home)}, which its digest does not cover"
            raise errors.PipelineError(
                msg, hint="Import it by an import statement, or list it in source.factory.files."
            )
