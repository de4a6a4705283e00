"""The commands whose results are for others: where a build comes from, and a signature over it.

Each is a call of `reconcile` like those in `cli`, which knows them by its table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import asked, reconcile
from pipeline import screen as screens
from pipeline.core import errors

if TYPE_CHECKING:
    from pipeline.stages import review as telling


def provenance(options: argparse.Namespace, screen: screens.Screen) -> int:
    """Writes the documents about where the build comes from, or prints the statement."""
    out = Path(options.out) if options.out else None
    made = reconcile.attest(asked.site(options, screen), out=out, builder=options.builder)
    text = made.statement.decode()
    if out is not None:
        text = "".join(f"Wrote {out / name}\n" for name in made.files)
    screen.show(text, {"statement": json.loads(made.statement), "bom": json.loads(made.bom)})
    return errors.Exit.FINE


def init(options: argparse.Namespace, screen: screens.Screen) -> int:
    """Begins a project in a folder, and says what to do next."""
    start = reconcile.Start(
        hub=options.hub,
        revision=options.revision,
        weights=options.weights,
        repository=options.repository,
        image=options.image,
        requirement=options.pipeline,
    )
    made = reconcile.begin(Path(options.folder), start, say=screen.say)
    text = f"Wrote {len(made)} files. README.md says how to go on; pipeline.yaml is the one to edit.\n"
    screen.show(text, {"files": made})
    return errors.Exit.FINE


def sign(options: argparse.Namespace, screen: screens.Screen) -> int:
    """Signs the repository as it lies."""
    with reconcile.writing(asked.site(options, screen), options.command) as site:
        changed = reconcile.sign(site, Path(options.key))
        name = site.project.signature.name
    text = f"Signed the repository: commit {name}.\n" if changed else f"{name} holds already.\n"
    screen.show(text, {"signed": changed, "signature": name})
    return errors.Exit.FINE


def _papers(options: argparse.Namespace) -> telling.Papers:
    """The files that the options name."""
    from pipeline.stages import review as telling  # noqa: PLC0415

    names = ("before", "after", "findings", "goldens", "report")
    given = {name: Path(getattr(options, name)) for name in names if getattr(options, name)}
    return telling.Papers(plan=Path(options.plan), **given)


def ci(options: argparse.Namespace, screen: screens.Screen) -> int:
    """One step of a workflow: what is told is read from files that earlier steps have written."""
    from pipeline.core import review  # noqa: PLC0415 - for workflows alone
    from pipeline.stages import review as telling  # noqa: PLC0415

    match options.step:
        case "matrix":
            jobs = telling.tell_matrix(telling.read_plan(Path(options.plan)))
            screen.show(json.dumps({"models": [job.model for job in jobs.include]}) + "\n", jobs)
        case "summary":
            text = review.markdown(telling.read(_papers(options)))
            telling.tell_summary(text, Path(options.out) if options.out else None)
            screen.show(text, {"markdown": text})
        case "comment":
            if options.number is None:
                msg = "a comment needs the pull request that it stands under"
                raise errors.PipelineError(msg, hint="Name it: `ci comment --number 7`.")
            address = telling.tell_comment(options.number, telling.read_text(Path(options.body)))
            denied = "this token may not comment, as in a fork's pull request: the step summary has the text\n"
            screen.show(f"{address}\n" if address else denied, {"address": address})
        case "settled":
            made = telling.read_plan(Path(options.plan))
            screen.show(f"{len(made.changes)} changes are left.\n", {"changes": len(made.changes)})
            return errors.Exit.PENDING if made.changes else errors.Exit.FINE
        case _:
            address = telling.tell_drift(telling.read_plan(Path(options.plan)))
            screen.show(f"{address or 'nothing has drifted'}\n", {"address": address})
    return errors.Exit.FINE
