"""Adopts a model repository: reads it, decides, and writes the spec where nothing stands yet."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pipeline import edges
from pipeline.core import adopt, errors, image
from pipeline.edges import digests, files, foreign


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: the file to write, which must not be there yet, the image that serves the models, and which
    models, all of them where none is named."""

    out: str | None = None
    image: str | None = None
    models: tuple[str, ...] = ()


def take(project: edges.Project, folder: Path, wanted: Wanted, *, say: edges.Say) -> adopt.Adopted:
    """The spec that serves a repository's models as they are.

    Raises PipelineError with every reason where one of them cannot be adopted: then nothing is written.
    """
    from pipeline.core import compat  # noqa: PLC0415 - other commands do not pay for it

    out, models = Path(wanted.out) if wanted.out else None, wanted.models
    root = (out.absolute() if out else project.spec).parent
    target = Path(os.path.normpath(folder.absolute()))
    _check(project, target, root, out)
    known = digests.Digests(project.state / "digests.json")
    found = foreign.look(target, root, known, say)
    names = [each.name for each in found]
    unknown = [name for name in models if name not in names]
    if unknown or not found:
        msg = f"{folder} has no model {unknown[0]}" if unknown else f"{folder} has no model"
        raise errors.PipelineError(msg, hint=f"It has {', '.join(names) or 'no folders'}.")
    chosen = [each for each in found if not models or each.name in models]
    origin = target.relative_to(root).as_posix()
    named = wanted.image or f"{image.TRITON}:{compat.SECURITY_FLOOR}-{image.PLAIN}"
    made = adopt.adopt(chosen, origin=origin, image=named, assumed=wanted.image is None)
    if made.findings:
        count = len(chosen) - len(made.models)
        msg = f"{count} of {len(chosen)} models cannot be adopted"
        rest = " ".join(f"--model {name}" for name in made.models)
        hint = f"Mend them, or adopt the others: {rest}" if rest else "Mend them."
        raise errors.PipelineError(msg, hint=hint, found=made.findings)
    if out is not None:
        files.write(out.absolute(), made.text.encode())
        known.save()
    return made


def _check(project: edges.Project, target: Path, root: Path, out: Path | None) -> None:
    """Raises PipelineError for a repository that a spec cannot name, and for a spec that is there already."""
    if out is not None and os.path.lexists(out):
        msg = f"{out} is there already"
        raise errors.PipelineError(msg, hint="Choose another name with --out: nothing is overwritten.")
    if not target.is_dir():
        msg = f"there is no folder {target}"
        raise errors.PipelineError(msg, hint="Name the model repository.")
    if target in {project.repository, root / project.repository.name}:
        msg = f"{target} is where the pipeline itself writes"
        raise errors.PipelineError(msg, hint=f"Move it: `mv {target.name} adopted`, and adopt that.")
    if target == root or not target.is_relative_to(root):
        msg = f"{target} is not in {root}, and a spec names nothing outside of its folder"
        raise errors.PipelineError(msg, hint="Copy the repository into the project: `cp -rL DIR adopted`.")
