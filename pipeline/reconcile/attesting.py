"""What others can hold a repository against: documents about where it came from, and a signature over its files.

The stages are imported when they are asked for: no other command pays for what these need.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import edges
from pipeline.core import diff, errors, lock, spec
from pipeline.reconcile import goals
from pipeline.reconcile.goals import Goal
from pipeline.reconcile.site import Site

if TYPE_CHECKING:
    from pipeline.core import origins


def attest(site: Site, *, out: Path | None, builder: str | None) -> origins.Documents:
    """The documents about what is locked; written to a folder where one is named.

    Raises PipelineError where the lock is not what the spec asks for.
    """
    from pipeline.stages import provenance  # noqa: PLC0415

    wanted = goals.goal(site)
    if site.locked is None or wanted.state.locked != lock.keys(site.locked):
        msg = "the lock is not what the spec asks for, so nothing can be said of where that comes from"
        raise errors.PipelineError(msg, hint="Run `export` first.")
    known = provenance.gather(
        site.project, wanted.declared, site.locked, stored=site.stored, builder=builder, say=site.say
    )
    made = provenance.documents(known)
    if out is not None:
        provenance.write(out.absolute(), made)
    return made


def sign(site: Site, key: Path) -> bool:
    """Signs the repository, where that is what the lock says; whether it had not been signed so already.

    Raises PipelineError for another repository, Unfit where model-signing is not installed.
    """
    from pipeline.edges import signing  # noqa: PLC0415

    _check_library()
    changes, observed = goals.compare(site, goals.goal(site))
    ahead = [each for each in changes if each.kind in {*diff.BEFORE, diff.Kind.REPOSITORY}]
    if ahead or observed.strangers:
        what = ahead[0].subject if ahead else observed.strangers[0]
        msg = f"the repository is not what the spec says: {what}"
        raise errors.PipelineError(msg, hint="Run `export` and `assemble` first; what is not ours must go elsewhere.")
    policy = site.declared.target.policies
    if policy.key is not None and _holds(site.project, policy.key):
        return False
    public = site.project.root / policy.key if policy.key is not None else None
    signing.sign(site.project.repository, site.project.signature, key.absolute(), public=public)
    return True


def _holds(project: edges.Project, key: str) -> bool:
    """Whether there is a good signature already: a new one would be other bytes for the same files."""
    from pipeline.edges import signing  # noqa: PLC0415

    try:
        signing.verify(project.repository, project.signature, project.root / key)
    except errors.Unverified:
        return False
    return True


def check_tree(site: Site) -> None:
    """Raises Unverified where the spec requires a signature, and the repository as it lies is not what was signed."""
    policy = site.declared.target.policies
    if policy.signature == "required":
        from pipeline.edges import signing  # noqa: PLC0415

        _check_library()
        signing.verify(site.project.repository, site.project.signature, site.project.root / str(policy.key))


def check_goal(site: Site, wanted: Goal) -> None:
    """The same for the files that are about to be laid out, and before any of them is."""
    policy = wanted.declared.target.policies
    if policy.signature != "required":
        return
    from pipeline.edges import signing  # noqa: PLC0415

    _check_library()
    signing.verify_files(_files(wanted), site.project.signature, site.project.root / str(policy.key))
    there = goals.observe(site, (), wanted.planned).strangers
    extra = [name for name in there if name not in wanted.state.models]
    if extra:
        msg = f"the repository has {extra[0]}/, which nobody has signed"
        raise errors.Unverified(msg, hint="Move it elsewhere.")


def _files(wanted: Goal) -> dict[str, str]:
    """Every file that the goal puts into the repository; folders without files are no part of a signature."""
    return {
        f"{name}/{path}": digest
        for name, model in wanted.state.models.items()
        for path, digest in model.files.items()
        if len(digest) == 64
    }


def _check_library() -> None:
    from pipeline.edges import signing  # noqa: PLC0415

    if not signing.available():
        msg = "model-signing is not installed here, and the signature cannot be made or checked without it"
        raise errors.Unfit(msg, hint="Add it with `nox -s environment -- signing`.")


def groups(declared: spec.Spec, command: str) -> tuple[str, ...]:
    """The environment groups that a command needs for signatures."""
    required = declared.target.policies.signature == "required" and command in {"serve", "apply", "watch"}
    return ("signing",) if required or command == "sign" else ()
