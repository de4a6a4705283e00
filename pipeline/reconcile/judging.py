"""Verdicts: the spec against the release matrix, and this or another machine against what the spec wants.

The stages are imported when a verdict is asked for: a plan must not pay for what it does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipeline import edges
from pipeline.core import errors, findings, parse, spec
from pipeline.edges import digests, environments, files, store
from pipeline.reconcile.site import Site
from pipeline.stages import lock as locking

if TYPE_CHECKING:
    from pipeline.core import checks, doctor, formats

_LIMIT = (1 << 20) + 1
_DEFAULT = "pipeline.yaml"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What `doctor` was asked: an image to judge in place of the spec's, another machine's driver and GPUs, a
    recommendation, and the models that count, all by default."""

    image: str | None = None
    driver: str | None = None
    gpus: tuple[str, ...] = ()
    recommend: bool = False
    models: tuple[str, ...] = ()


def judge(site: Site, name: str) -> tuple[findings.Finding, ...]:
    """What in the spec does not fit its image, or may not, and what its fields do to no purpose; `name` is what
    messages call the spec's file."""
    from pipeline.reconcile import examining as fields  # noqa: PLC0415
    from pipeline.stages import doctor as examining  # noqa: PLC0415
    from pipeline.stages import validate as validating  # noqa: PLC0415

    known = examining.artifacts(site.declared, site.locked, site.stored, torch=torch(site.project))
    chosen = [each for each in known if each.model in site.chosen]
    rows = examining.releases()
    found = validating.judge(site.project, name, site.declared.target, rows=rows, artifacts=chosen)
    return (*found, *fields.examine(site, name))


def torch(project: edges.Project) -> str | None:
    """The version that artifacts are made with, None where the project pins none."""
    try:
        return environments.toolchain(project.root)["torch"]
    except errors.Unfit:
        return None


def examine(project: edges.Project, name: str, asked: Asked, *, say: edges.Say) -> doctor.Diagnosis:
    """What the machine is fit for. A spec or lock that cannot be read is told of, and does without it.

    Raises InvalidSpec for an image, driver, GPU or model that is none.
    """
    from pipeline.stages import doctor as examining  # noqa: PLC0415

    broken: list[checks.Check] = []
    declared = _declared(project, name, broken)
    artifacts: tuple[formats.Artifact, ...] = ()
    if declared is not None:
        _check_models(declared, name, asked)
        artifacts = tuple(
            each for each in _known(project, declared, broken) if not asked.models or each.model in asked.models
        )
    question = examining.Asked(image=asked.image, driver=asked.driver, gpus=asked.gpus, recommend=asked.recommend)
    target = declared.target if declared else None
    made = examining.examine(project, target, question, artifacts=artifacts, say=say)
    return msgspec.structs.replace(made, checks=(*broken, *made.checks))


def _declared(project: edges.Project, name: str, broken: list[checks.Check]) -> spec.Spec | None:
    """The spec; None where there is none, or where it is broken, which is noted then."""
    try:
        text = files.read(project.spec, _LIMIT)
        if text is not None:
            return parse.parse_spec(text, file=name)
    except errors.PipelineError as error:
        broken.append(_broken("spec", f"{error.message}: it is left out of account", "`validate` tells every fault"))
        return None
    if name != _DEFAULT:
        broken.append(_broken("spec", f"there is no {name}", "name the spec with --spec"))
    return None


def _known(project: edges.Project, declared: spec.Spec, broken: list[checks.Check]) -> tuple[formats.Artifact, ...]:
    """The spec's artifacts, with what is known of those that are built."""
    from pipeline.stages import doctor as examining  # noqa: PLC0415

    try:
        locked = locking.read(project)
    except errors.PipelineError as error:
        broken.append(_broken("lock", error.message, error.hint))
        locked = None
    stored = store.Store(project.store, digests.Digests(project.state / "digests.json"))
    return examining.artifacts(declared, locked, stored, torch=torch(project))


def _broken(name: str, found: str, needed: str) -> checks.Check:
    from pipeline.core import checks  # noqa: PLC0415

    return checks.Check(name=name, rule=f"{name}-broken", state="warning", found=found, needed=needed)


def _check_models(declared: spec.Spec, name: str, asked: Asked) -> None:
    unknown = [model for model in asked.models if model not in declared.models]
    if unknown:
        msg = f"{name} has no model {unknown[0]}"
        raise errors.InvalidSpec(msg, hint=f"It has {', '.join(declared.models) or 'no models'}.")
