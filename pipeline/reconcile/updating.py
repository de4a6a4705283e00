"""Brings a spec forward: what is newer and fits is found, written in place, and planned. The lock stands as it was.

What only this needs is imported when it is asked for: a plan must not pay for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipeline.core import errors, parse, plan, spec, tree, yamltext
from pipeline.edges import files
from pipeline.reconcile import goals, judging, planning
from pipeline.reconcile.site import Site

if TYPE_CHECKING:
    from pipeline.core import findings, updates

_LIMIT = (1 << 20) + 1
_SMI = 5.0
"""Seconds that `nvidia-smi` has to tell the GPU."""


def look(site: Site, name: str, asked: judging.Asked) -> updates.Updates:
    """What is newer and fits, of the chosen models, and of the image where none is chosen; nothing is written.

    Raises InvalidSpec for a driver or a GPU that is none.
    """
    from pipeline.core import updates, yamledit  # noqa: PLC0415
    from pipeline.stages import update as updating  # noqa: PLC0415

    text = _text(site)
    data = yamltext.load(text, file=name).data
    comments = {path: span.comment for path, span in yamledit.spans(text.decode()).items()}
    newer = None if asked.models else _image(site, asked)
    of_wheels = updating.wheels(updates.wheels(data, site.chosen), say=site.say)
    of_commits = updating.commits(updates.commits(data, site.chosen, comments), say=site.say)
    of_branches = updating.branches(updates.branches(site.declared, site.locked, site.chosen), say=site.say)
    images = (newer,) if isinstance(newer, updates.Update) else ()
    told = (newer,) if newer is not None and not isinstance(newer, updates.Update) else ()
    return updates.Updates(
        updates=(*images, *of_wheels.updates, *of_commits.updates),
        findings=(*told, *of_wheels.left, *of_commits.left, *of_branches.left),
    )


def _image(site: Site, asked: judging.Asked) -> updates.Update | findings.Finding | None:
    """The newest image by doctor's rules: the artifacts, the policy, and a driver, where one is told or is here."""
    from pipeline.core import compat, updates  # noqa: PLC0415
    from pipeline.edges import machine as machines  # noqa: PLC0415
    from pipeline.stages import doctor as examining  # noqa: PLC0415

    target = site.declared.target
    gpus, driver = target.gpus not in ("none", 0, ()), None
    if asked.driver is not None or asked.gpus:
        driver = examining.told(examining.Asked(driver=asked.driver, gpus=asked.gpus)).driver
    elif gpus:
        here = machines.driver(_SMI)
        driver = here if here.state == "works" else None
    artifacts = examining.artifacts(site.declared, site.locked, site.stored, torch=judging.torch(site.project))
    wanted = compat.Wanted(driver=driver, artifacts=artifacts, policy=target.policies.image)
    return updates.of_image(target.image, examining.releases(), wanted, gpus=gpus)


def update(site: Site, name: str, found: updates.Updates) -> updates.Updates:
    """Writes what was found into the spec, with the plan that follows from it.

    A wheel that has not the model any more is left out. Raises PipelineError where the text cannot be edited so, or
    nothing can be planned with it: then it stands as it was.
    """
    from pipeline.core import updates, yamledit  # noqa: PLC0415
    from pipeline.stages import update as updating  # noqa: PLC0415

    text = _text(site)
    wheels = updates.wheels(yamltext.load(text, file=name).data, site.chosen)
    good = updating.fitting(wheels, found.updates, site.project, site.say)
    found = msgspec.structs.replace(found, updates=good.updates, findings=(*found.findings, *good.left))
    if not good.updates:
        return found
    known = {tree.dotted(path): path for path in yamledit.spans(text.decode())}
    edited = yamledit.replace(text, updates.values(found.updates, known), file=name)
    planned = _planned(site, parse.parse_spec(edited, file=name))
    if _text(site) != text:
        msg = f"{name} was changed by somebody meanwhile"
        raise errors.Busy(msg, hint="Run the command again.")
    with files.guard("read", site.project.spec):
        mode = site.project.spec.stat().st_mode & 0o777
    files.write(site.project.spec, edited, mode=mode)
    return msgspec.structs.replace(found, written=True, plan=planned)


def _planned(site: Site, declared: spec.Spec) -> plan.Document:
    """What would change with another spec. The hub may be asked: what is newer is not in the lock yet."""
    newer = msgspec.structs.replace(site, declared=declared)
    made = planning.make_plan(newer, goals.goal(newer, online=True))
    return plan.document(made.plan, basis=made.basis)


def _text(site: Site) -> bytes:
    return files.read(site.project.spec, _LIMIT) or b""
