"""The import closure of a Python file inside a folder, read from its text alone: nothing is run.

It finds what `import` statements name, wherever they stand. What is imported by computed names stays unseen; a
factory's load therefore looks again at what was really imported.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from pipeline.core import errors


def closure(module: str, root: Path) -> tuple[Path, ...]:
    """The files under `root` that importing `module` can run, sorted. Raises errors.PipelineError where none is."""
    start = _files(module, root)
    if not start or not _is_there(module, root):
        msg = f"no module {module} under {root}"
        raise errors.PipelineError(msg, hint="source.factory is `module:function`, relative to the spec's folder.")
    found: set[Path] = set()
    ahead = list(start)
    while ahead:
        path = ahead.pop()
        if path not in found:
            found.add(path)
            ahead += [file for name in sorted(_imported(path, root)) for file in _files(name, root)]
    return tuple(sorted(found))


def _is_there(module: str, root: Path) -> bool:
    place = root.joinpath(*module.split("."))
    return place.with_suffix(".py").is_file() or place.is_dir()


def _files(module: str, root: Path) -> list[Path]:
    """The files that `import a.b.c` runs: each package's __init__.py on the way, and the module itself."""
    files = []
    place = root
    for part in module.split("."):
        place /= part
        candidates = (place / "__init__.py", place.with_name(part + ".py"))
        files += [path for path in candidates if path.is_file()][:1]
    return files


def _imported(path: Path, root: Path) -> frozenset[str]:
    """The dotted names that a file imports; `from a import b` may mean the module a.b."""
    try:
        return _names(path.read_bytes(), path.relative_to(root).parent.parts)
    except (SyntaxError, ValueError) as error:
        place = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        msg = f"{path.relative_to(root)}{place}: {getattr(error, 'msg', error)}"
        raise errors.PipelineError(msg, hint="Correct the factory's code.") from error


@functools.lru_cache(maxsize=256)  # many models may come from one module
def _names(text: bytes, package: tuple[str, ...]) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" if base else alias.name for alias in node.names}
    return frozenset(name for name in names if name and "*" not in name)
