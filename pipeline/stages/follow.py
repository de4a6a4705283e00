"""Follow: brings the checkout to the head of a git branch, if that is a way forward on which nothing is lost.

Which commit was acted on last is kept beside the project's other state. A commit is acted on once: whoever went back
from it, or saw it fail, is not overruled by the next look.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from pipeline import edges
from pipeline.core import errors, render
from pipeline.edges import files, git

_LIMIT = 1 << 10
_SHOWN = 5


def follow(
    project: edges.Project,
    upstream: git.Upstream,
    acted: str | None,
    *,
    hold: Callable[[], AbstractContextManager[object]],
    timeout: float,
) -> str:
    """Fetches the branch; the commit that it is at. If that is not the commit `acted`, it is checked out then.

    `hold` makes this the project's one writer while files change; what it raises (Busy) passes through. Raises
    PipelineError, and nothing has changed, where the branch cannot be fetched within `timeout` seconds, where it is no
    fast-forward of what is checked out, or where a tracked file of the project has local changes. What the pipeline
    itself writes (the lock, the configs) may differ; git refuses where the commit has other bytes for it.
    """
    target = git.fetch(project.root, upstream, timeout=timeout)
    if target == acted:
        return target
    _check_clean(project)
    if git.head(project.root) != target:
        _check_forward(project, upstream, target)
        with hold():
            git.fast_forward(project.root, target)
    return target


def recall(project: edges.Project) -> str | None:
    """The commit that was acted on last; None where none was. Raises PipelineError where the record is damaged."""
    path = _record(project)
    text = files.read(path, _LIMIT)
    if text is None:
        return None
    commit = text.decode("ascii", "replace").strip()
    if not git.is_commit(commit):
        msg = f"{path} does not name the commit that was acted on last"
        raise errors.PipelineError(msg, hint="Remove it: the commit that is checked out is applied again then.")
    return commit


def remember(project: edges.Project, commit: str) -> None:
    """Writes down that the commit was acted on, well or not."""
    files.write(_record(project), f"{commit}\n".encode())


def _check_clean(project: edges.Project) -> None:
    """What is applied is the commit, not what somebody has written over it."""
    own = (project.lock.name, f"{project.repository.name}/*/config.pbtxt")
    changed = git.changed_files(project.root, apart=own)
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        msg = f"files here have local changes: {render.clean(', '.join(changed[:_SHOWN]))}{more}"
        hint = "Commit and push them, or put them back with `git restore --staged --worktree FILE`."
        raise errors.PipelineError(msg, hint=hint)


def _check_forward(project: edges.Project, upstream: git.Upstream, target: str) -> None:
    if not git.is_fast_forward(project.root, target):
        msg = f"{upstream} ({target[:12]}) is no fast-forward of what is checked out: its history was rewritten, or "
        msg += "something was committed here"
        hint = f"Push what was committed here, or take the branch as it is with `git reset --keep {upstream}`."
        raise errors.PipelineError(msg, hint=hint)


def _record(project: edges.Project) -> Path:
    return project.state / "followed"
