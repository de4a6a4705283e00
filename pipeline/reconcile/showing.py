"""What others may use without this program: configs, and the server's container as a line and as a file. And the
image for it, where there is no GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipeline import edges
from pipeline.core import config, documents, errors, findings, layout, lock
from pipeline.reconcile import goals
from pipeline.reconcile.site import Site

if TYPE_CHECKING:
    from pipeline.core import container

Shape = Literal["docker-run", "compose"]

PYTHON = "python:3.11-slim-bookworm"
"""What the CPU image stands on by default: Python's own image, which is a Debian 12."""


def render(site: Site, shape: Shape | None = None) -> documents.Rendering:
    """The chosen models' configs, or the server that the spec asks for in another shape. Nothing is built."""
    from pipeline.core import run_line  # noqa: PLC0415 - YAML's writer, for these alone

    match shape:
        case None:
            return _configs(site)
        case "docker-run":
            return documents.Rendering(docker_run=run_line.docker_run(_container(site)))
        case "compose":
            return documents.Rendering(compose=run_line.compose(_container(site)))


def warnings(site: Site) -> tuple[findings.Finding, ...]:
    """What the server's container opens that was shut."""
    from pipeline.core import container  # noqa: PLC0415

    return container.warnings(site.declared.target)


def _configs(site: Site) -> documents.Rendering:
    """Each config has its model's digest as far as the lock knows it."""
    known = _known(site)
    unlocked = tuple(name for name in sorted(site.chosen) if name not in known)
    if unlocked:
        site.say(f"the digest of {', '.join(unlocked)} is not known before the next `lock`: it is left out")
    models = {name: model for name, model in site.declared.models.items() if name in site.chosen}
    configs = {
        name: config.dump(known[name]) if name in known else layout.config_text(model, None, {})
        for name, model in models.items()
    }
    return documents.Rendering(configs=configs, unlocked=unlocked)


def _known(site: Site) -> dict[str, config.Data]:
    """The whole config of each model that is built and locked; of none where sources are not at hand."""
    try:
        models = goals.goal(site).state.models
        return {name: model.config for name, model in models.items() if model.digest and model.config is not None}
    except errors.PipelineError as error:
        site.say(error.message)
        return {}


def _container(site: Site) -> container.Container:
    """The container as anybody may start it: it belongs to no run of this project, and loads the chosen models."""
    from pipeline.core import container  # noqa: PLC0415

    given = container.Given(
        folder=str(site.project.repository.parent),
        repository=site.project.repository.name,
        image=_pinned(site),
        models=tuple(sorted(site.chosen)),
    )
    return container.container(site.declared.target, given)


def _pinned(site: Site) -> str:
    """The image as it is to be named: by the lock's digest, where the lock has one for what the spec names."""
    named = site.declared.target.image
    known = lock.image(site.locked, named)
    return f"{named}@{known.digest}" if known.digest and "@" not in named else named


def make_image(project: edges.Project, *, base: str | None, say: edges.Say) -> documents.CpuImage:
    """The CPU image on the engine, built where it is not there as it should be. `base` is a reference, by default
    Python's image; one that the engine does not have is pulled.

    Raises Unfit without an engine, or where base or wheels cannot be got.
    """
    from pipeline.stages import image as building  # noqa: PLC0415

    return building.build_image(project, base or PYTHON, say=say)
