"""Begins a project: makes the spec of what there is, and puts it with the files around it where nothing stands yet.

What only a beginning needs is imported when there is one: a plan must not pay for it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import pipeline
from pipeline import edges
from pipeline.core import errors, image
from pipeline.edges import facts, files, shipped
from pipeline.reconcile import adopting

if TYPE_CHECKING:
    from pipeline.core import beginning

_LIMIT = 16 << 20


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What a project begins with: a hub's repository, a folder of weights, or a Triton repository in its folder, or
    nothing; the server's image, and the requirement by which pip finds this program."""

    hub: str | None = None
    revision: str = "main"
    weights: str | None = None
    repository: str | None = None
    image: str | None = None
    requirement: str | None = None


def begin(folder: Path, start: Start, *, say: edges.Say) -> tuple[str, ...]:
    """Writes a new project, the spec last; the names of the files, sorted.

    Raises PipelineError, with nothing written, where one of them is there already with another text.
    """
    root = folder.absolute()
    made = {"pipeline.yaml": _spec(root, start, say), **_around(start)}
    there = {name: files.read(root / name, _LIMIT) if _lies(root, name) else None for name in made}
    taken = sorted(name for name, text in there.items() if text is not None and text != made[name].encode())
    if taken:
        msg = f"{', '.join(taken)} {'is' if len(taken) == 1 else 'are'} there already"
        raise errors.PipelineError(msg, hint="Begin in another folder: nothing is overwritten.")
    for name in sorted(made, key=lambda name: (name == "pipeline.yaml", name)):
        if there[name] is None:
            files.make_folder((root / name).parent)
            files.write(root / name, made[name].encode())
    return tuple(sorted(made))


def _lies(root: Path, name: str) -> bool:
    """Whether anything is at a path. Raises PipelineError where that is no file, or a folder on the way is a link."""
    path = root / name
    for part in [path, *path.parents]:
        if part == root:
            break
        if part.is_symlink() or (part == path and part.exists() and not part.is_file()):
            msg = f"{part.relative_to(root)} is a link, or no file"
            raise errors.PipelineError(msg, hint="Begin in another folder: nothing is overwritten.")
    return os.path.lexists(path)


def _around(start: Start) -> dict[str, str]:
    """All files but the spec, by their paths."""
    from pipeline.core import beginning, catalog, config_schema, schema  # noqa: PLC0415

    requirement = start.requirement or f"triton-pipeline=={pipeline.__version__}"
    found = {f"requirements/{group}.txt": shipped.read(f"requirements/{group}.txt") for group in shipped.GROUPS}
    found |= {f".github/workflows/{name}": shipped.read(f".github/workflows/{name}") for name in shipped.WORKFLOWS}
    written = config_schema.document_schema(catalog.parse(facts.model_config()))
    return {
        **found,
        "requirements/pipeline.txt": f"{requirement}\n",
        "noxfile.py": beginning.noxfile(shipped.read("noxfile.py")),
        "schemas/pipeline.schema.json": schema.dump(written),
        ".gitignore": beginning.IGNORED,
        ".pre-commit-config.yaml": beginning.HOOKS,
        "README.md": beginning.README,
    }


def _spec(root: Path, start: Start, say: edges.Say) -> str:
    from pipeline.core import beginning, compat  # noqa: PLC0415

    named = start.image or f"{image.TRITON}:{compat.SECURITY_FLOOR}-{image.PLAIN}"
    if start.hub is not None:
        return beginning.spec(_from_hub(start.hub, start.revision), image=named)
    if start.weights is not None:
        return beginning.spec(_from_folder(root, Path(start.weights)), image=named)
    if start.repository is not None:
        project = edges.Project(spec=root / "pipeline.yaml")
        wanted = adopting.Wanted(image=start.image)
        return beginning.MODELINE + adopting.take(project, Path(start.repository), wanted, say=say).text
    return beginning.sample(named)


def _from_hub(repo: str, revision: str) -> beginning.Weights:
    from pipeline.core import beginning  # noqa: PLC0415
    from pipeline.edges.sources import hub  # noqa: PLC0415

    commit, names, config = hub.describe(repo, revision)
    return beginning.Weights(
        name=beginning.model_name(repo),
        source={"hub": {"repo": repo, "revision": commit}},
        config=config,
        tokenizer="tokenizer.json" in names,
    )


def _from_folder(root: Path, folder: Path) -> beginning.Weights:
    from pipeline.core import beginning  # noqa: PLC0415

    target = Path(os.path.normpath(folder.absolute()))
    if target == root or not target.is_relative_to(root):
        msg = f"{folder} is not in {root}, and a spec names nothing outside of its folder"
        raise errors.PipelineError(msg, hint="Copy the weights into the project: `cp -rL DIR weights`.")
    config = files.read(target / "config.json", _LIMIT) if target.is_dir() else None
    if config is None:
        msg = f"{folder} has no config.json"
        raise errors.PipelineError(msg, hint="Name a folder of weights as `save_pretrained` writes it.")
    return beginning.Weights(
        name=beginning.model_name(target.name),
        source={"path": target.relative_to(root).as_posix()},
        config=config,
        tokenizer=(target / "tokenizer.json").is_file(),
    )
