"""What a machine is fit for: the checks that are made of it, what image and recommendation add, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pipeline.core import checks, compat, findings, fitness, formats, image, machine, matrix, mending, spec


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """`doctor --json`: everything that was looked at."""

    format: Annotated[Literal[1], Meta(description="The version of this format.")] = 1
    fit: Annotated[bool, Meta(description="Whether there is no error: the exit code is 5 where there is one.")]
    image: Annotated[str | None, Meta(description="The image that was judged.")]
    machine: Annotated[machine.Machine, Meta(description="What was found; `given` where it was told.")]
    checks: tuple[checks.Check, ...]
    recommendation: Annotated[
        compat.Recommendation | None, Meta(description="The newest release that can run, and why newer ones cannot.")
    ] = None


def wanted(
    target: spec.Target | None,
    *,
    named: str | None = None,
    told: bool = False,
    artifacts: Sequence[formats.Artifact] = (),
    recommend: bool = False,
) -> checks.Wanted:
    """What a spec's target wants, or, without one, a server with GPUs. `named` is an image to judge in place of the
    target's: a whole reference, or a tag of NVIDIA's; `told` says that driver or GPUs were told."""
    text = image.TRITON + ":" + named if named and not set(named) & set("/:@") else named
    if target is None:
        return checks.Wanted(image=text, artifacts=tuple(artifacts), named=True, recommend=recommend)
    return checks.Wanted(
        image=text or target.image,
        runtime=target.runtime,
        gpus=told or target.gpus not in ("none", 0, ()),
        policy=target.policies.image,
        artifacts=tuple(artifacts),
        named=told or text is not None,
        recommend=recommend,
    )


def examine(
    found: machine.Machine, rows: Sequence[matrix.Row], want: checks.Wanted, *, probed: matrix.Row | None = None
) -> Diagnosis:
    """Everything about the machine that matters for what is wanted; `probed` is what the image itself has told.

    Raises InvalidSpec where it names no image.
    """
    docker = judges_image(want)
    here = [] if found.given else [*_run(_HERE, found, want)]
    server = [] if found.given or not docker else [*_run(_ENGINE, found, want)]
    if docker and want.gpus:
        server += _run(_GPUS[:1] if found.given else _GPUS, found, want)
    if docker and want.image:
        server += _image(found, rows, want, probed)
    advice = None
    if want.recommend:
        advice = compat.recommend(rows, _asked(found, want))
        server += _advice(advice)
    if want.runtime == "auto" and not want.named:
        server = [_eased(check) for check in server]
    both = (*here, *server)
    return Diagnosis(
        fit=all(check.state != "error" for check in both),
        image=want.image,
        machine=found,
        checks=both,
        recommendation=advice,
    )


def judges_image(want: checks.Wanted) -> bool:
    """Whether containers matter: the embedded server needs none, unless an image was named to be judged."""
    return want.runtime != "embedded" or want.named


def _run(
    looks: Sequence[Callable[[machine.Machine, checks.Wanted], Iterator[checks.Check]]],
    found: machine.Machine,
    want: checks.Wanted,
) -> Iterator[checks.Check]:
    for look in looks:
        yield from look(found, want)


def _eased(check: checks.Check) -> checks.Check:
    """With `runtime: auto` the embedded server takes the place of what cannot be: a warning says so."""
    return msgspec.structs.replace(check, state="warning") if check.state == "error" else check


def _asked(found: machine.Machine, want: checks.Wanted) -> compat.Wanted:
    driver = found.driver or machine.Driver(state="missing")
    return compat.Wanted(driver=driver if want.gpus else None, artifacts=want.artifacts, policy=want.policy)


def _image(
    found: machine.Machine, rows: Sequence[matrix.Row], want: checks.Wanted, probed: matrix.Row | None
) -> Iterator[checks.Check]:
    about = want.image or ""
    if probed is not None:
        yield checks.Check(name="image", rule="image-told", state="ok", found=f"{about} is here: {_telling(probed)}")
    verdicts = compat.judge(about, rows, _asked(found, want), probed=probed)
    if found.driver is not None and found.driver.state != "works":
        verdicts = tuple(each for each in verdicts if each.rule != "driver-unknown")  # the driver's own check says it
    for each in verdicts:
        yield _verdict(each, rows, about)
    if not verdicts:
        where = " on this machine" if want.gpus else ""
        yield checks.Check(name="image", rule="image", state="ok", found=f"nothing speaks against {about}{where}")


def _telling(row: matrix.Row) -> str:
    """What the image has told, in words."""
    cells = [f"{name.replace('_', ' ')} {getattr(row, name)}" for name in sorted(row.probed)]
    backends = [] if row.backends is None else [f"backends {', '.join(row.backends) or 'none'}"]
    return "; ".join([*cells, *backends]) or "it tells nothing of itself"


def _verdict(finding: findings.Finding, rows: Sequence[matrix.Row], about: str) -> checks.Check:
    mend: tuple[mending.Mend, ...] = ()
    if finding.rule in {"driver-too-old", "driver-branch", "forward-compatibility", "forward-compatibility-unknown"}:
        tag = image.tagged(image.parse(about).tag or "")
        row = matrix.find(rows, tag.release) if tag else None
        mend = mending.driver(max(checks.BRANCH, (row and fitness.floor(row)) or 0))
    of = f"model {finding.model}: " if finding.model else ""
    return checks.Check(
        name="image",
        rule=finding.rule,
        state="error" if finding.severity is findings.Severity.ERROR else "warning",
        found=of + finding.message,
        needed=finding.hint,
        mend=mend,
        source=finding.source,
    )


def _advice(advice: compat.Recommendation) -> Iterator[checks.Check]:
    if advice.tag is None:
        text = "no release of NVIDIA's image is known to run here"
        needed = "see why below, newest first"
        yield checks.Check(name="recommendation", rule="no-release", state="error", found=text, needed=needed)
        return
    name = f"{image.TRITON}:{advice.tag}-{image.PLAIN}"
    if any(each.rule in compat.UNBUILT for each in advice.notes):
        text = f"{name} is the newest that can run here; whether it loads the artifacts shows when they are built"
        needed = "`export` builds them, and reads what they need"
        yield checks.Check(
            name="recommendation", rule="recommended-unbuilt", state="warning", found=text, needed=needed
        )
        return
    text = f"{name} is the newest that is known to run"
    yield checks.Check(name="recommendation", rule="recommended", state="ok", found=text)


_HERE = (checks.system, checks.python, checks.shm, checks.ports)
_ENGINE = (checks.engine, checks.disk)
_GPUS = (checks.driver, checks.toolkit)
