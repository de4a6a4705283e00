"""The checkout that the project lies in, through the `git` program: fetched, compared, moved forward, and nothing else.

No history is rewritten and no change of a person is thrown away here. Git never asks for a password and never outlives
its time limit. Its words are shown with control characters escaped, and without the secrets that addresses may carry.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from pipeline.core import errors, render
from pipeline.edges import files

KEPT = (
    *("HOME", "PATH", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"),
)
"""What git gets of this process's environment, beside the user's own GIT_ variables: where keys and settings lie, and
the way to the network."""

NOT_KEPT = re.compile(
    r"GIT_(DIR|WORK_TREE|INDEX_FILE|COMMON_DIR|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES|NAMESPACE|PREFIX|TRACE.*)"
)
"""The GIT_ variables that name another repository than the project's, or that write addresses and tokens down."""

LOCAL_SECONDS = 60.0
MERGE_SECONDS = 300.0
GRACE_SECONDS = 2.0
TICK_SECONDS = 0.02
WORDS = 400  # letters of what git says
SAID_BYTES = 1 << 14

_REMOTE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+#@=-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.+#@=-]*)*")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_USER = re.compile(r"://(?:[^\s'\"]*|[^/\n]*)@")
_QUERY = re.compile(r"(://[^\s'\"?]*\?)[^\s'\"]+")


class Upstream(msgspec.Struct, frozen=True):
    """A branch of a remote that the checkout knows by name."""

    remote: str
    branch: str

    def __str__(self) -> str:
        return f"{self.remote}/{self.branch}"


class _Ended(msgspec.Struct, frozen=True):
    """How git ended: its exit status, standard output, and the last of standard error."""

    code: int
    output: str
    words: str


def parse_upstream(text: str) -> Upstream:
    """`origin/main` as remote and branch; the branch may have slashes. Raises PipelineError for anything else."""
    remote, _, branch = text.partition("/")
    parts = (remote, *branch.split("/"))
    odd = any(".." in part or part.endswith((".", ".lock")) for part in parts)
    if odd or len(text) > 200 or not _REMOTE.fullmatch(remote) or not _BRANCH.fullmatch(branch):
        msg = f"{render.clean(text[:80])!r} does not name a remote and a branch"
        raise errors.PipelineError(msg, hint="Write REMOTE/BRANCH, such as origin/main.")
    return Upstream(remote, branch)


def head(root: Path) -> str:
    """The commit that is checked out in the folder `root`, in full. Raises PipelineError outside of a checkout."""
    hint = "Run it in a clone of your repository, as the user whom the clone belongs to."
    return _commit(root, "HEAD", hint)


def fetch(root: Path, upstream: Upstream, *, timeout: float) -> str:
    """Fetches the branch, and nothing else, within `timeout` seconds; the commit that it is at.

    Neither the checkout nor any branch of it changes. Raises PipelineError where the remote is not known here, cannot
    be reached, does not let us in, or has no such branch.
    """
    hint = "Look at `git remote -v`: the remote must have a name there."
    # Git takes a name that it does not know for a folder or an address: only a configured remote is ever asked.
    _good(_run(root, ["remote", "get-url", upstream.remote]), f"find the remote {upstream.remote}", hint)
    here = f"refs/remotes/{upstream}"
    words = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", upstream.remote]
    ended = _run(root, [*words, f"+refs/heads/{upstream.branch}:{here}"], timeout=timeout)
    hint = "Look at the network, at the address (`git remote -v`) and at the key or token; nothing was changed here."
    _good(ended, f"fetch {upstream}", hint)
    return _commit(root, here, hint)


def is_fast_forward(root: Path, target: str) -> bool:
    """Whether the commit `target` holds everything that is checked out: nothing would be lost by going there."""
    words = ["merge-base", "--is-ancestor", "HEAD", _checked(target)]
    ended = _run(root, words)
    if ended.code != 1:
        _good(ended, f"compare with {target[:12]}", "Run `git fsck` in the checkout: a commit is missing there.")
    return ended.code == 0


def changed_files(root: Path, *, apart: Sequence[str] = ()) -> tuple[str, ...]:
    """The tracked files in the folder `root` that are not as the commit has them, staged or not; without those that
    one of the glob patterns in `apart` matches. Paths and patterns are relative to `root`.
    """
    patterns = [f":(exclude,glob){pattern}" for pattern in apart]
    ended = _run(root, ["diff", "--name-only", "-z", "--relative", "HEAD", "--", ".", *patterns])
    _good(ended, "compare the files with their commit", "Run `git status` there: what it says must be mended first.")
    return tuple(sorted(name for name in ended.output.split("\0") if name))


def fast_forward(root: Path, target: str) -> None:
    """Moves the branch that is checked out, and its files, to the commit `target`, which must hold all that it has.

    Raises PipelineError, with git's words, where it may not: the histories have parted, a file with local changes or
    one that is not tracked would be overwritten, a hook or a rule (`merge.verifySignatures`) of the user forbids it.
    An interrupt waits for git to finish: half of the files in one commit and half in another would help nobody.
    """
    words = ["merge", "--ff-only", "--quiet", "--no-stat", _checked(target)]
    ended = _run(root, words, timeout=MERGE_SECONDS, patient=True)
    hint = "No change is ever thrown away: commit or `git restore` the files that git names, and it goes on by itself."
    _good(ended, f"go forward to {target[:12]}", hint)
    if head(root) != target:
        msg = f"git went forward to {target[:12]}, and something else is checked out"
        raise errors.PipelineError(msg, hint="Look for settings and hooks that change what `git merge --ff-only` does.")


def is_commit(text: str) -> bool:
    """Whether the text is a commit's name in full."""
    return _COMMIT.fullmatch(text) is not None


def _checked(commit: str) -> str:
    """The commit, which is one: it can be no option and no other expression."""
    if not is_commit(commit):
        msg = f"{render.clean(commit[:80])!r} is not a commit's name in full"
        raise errors.PipelineError(msg, hint="Give all 40 hexadecimal digits (64 in a repository of SHA-256).")
    return commit


def _commit(root: Path, name: str, hint: str) -> str:
    ended = _run(root, ["rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}"])
    _good(ended, f"read {name}", hint)
    return _checked(ended.output.strip())


def _good(ended: _Ended, act: str, hint: str) -> None:
    """Raises PipelineError with git's own words where it could not do the act."""
    if ended.code:
        msg = f"git could not {act}: {ended.words or f'it ended with exit status {ended.code}'}"
        raise errors.PipelineError(msg, hint=hint)


def _run(root: Path, words: Sequence[str], *, timeout: float = LOCAL_SECONDS, patient: bool = False) -> _Ended:
    """Runs git in `root` to its end. After `timeout` seconds, or at an interrupt, it is ended with all its children;
    with `patient` an interrupt waits for the end first.

    What it says goes to files, not through pipes: a child of git that lives on can hold up nothing.
    """
    with _scratch() as output, _scratch() as said, _started(root, words, output, said) as git:
        try:
            git.wait(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            msg = f"`git {words[0]}` did not end within {timeout:g} s and was stopped"
            hint = "Does the remote answer? A password is never asked for: git must have a key or a stored token."
            raise errors.PipelineError(msg, hint=hint) from error
        except KeyboardInterrupt:
            if patient:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    git.wait(timeout=timeout)
            raise
        return _Ended(git.returncode, _tail(output, None), printable(_tail(said, SAID_BYTES)))


def _scratch() -> IO[bytes]:
    """A file that has no name and is gone when it is closed."""
    with files.guard("make", Path("a temporary file")):
        return tempfile.TemporaryFile()


@contextlib.contextmanager
def _started(root: Path, words: Sequence[str], output: IO[bytes], said: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Git in a session of its own: it has no terminal to ask a password on, and ends as one group with its children."""
    try:
        git = subprocess.Popen(
            ["git", "-c", "merge.autoStash=false", *words],  # noqa: S607 - the user's own
            cwd=root,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=said,
            start_new_session=True,
        )
    except OSError as error:
        msg = f"cannot start git in {root}: {error.strerror}"
        raise errors.Unfit(msg, hint="Install git and have it in PATH.") from error
    try:
        yield git
    finally:
        _end(git)


def _end(git: subprocess.Popen[bytes]) -> None:
    """Ends git and its children, if it still runs: asked first, since git removes its lock files then."""
    if git.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(git.pid, signal.SIGTERM)
    until = time.monotonic() + GRACE_SECONDS
    # Not reaped before the second signal: its number, which is its group's, stays its own that long.
    while os.waitid(os.P_PID, git.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None and time.monotonic() < until:
        time.sleep(TICK_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(git.pid, signal.SIGKILL)
    git.wait()


def _environment() -> dict[str, str]:
    """The user's own ways to reach the remote; no other secret, no question, words that do not change with the land."""
    own = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or (name.startswith("GIT_") and not NOT_KEPT.fullmatch(name))
    }
    return own | {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


def _tail(file: IO[bytes], limit: int | None) -> str:
    """The text of the file; of one larger than `limit` bytes the whole lines at its end."""
    size = file.seek(0, os.SEEK_END)
    begin = 0 if limit is None else max(0, size - limit)
    file.seek(begin)
    text = file.read().decode("utf-8", "replace")
    # Half a line may be half an address, with a secret in it that could no longer be told from other words.
    return text.partition("\n")[2] if begin else text


def printable(text: str) -> str:
    """What git said as one line that is safe to show: no user, password or token of an address, nothing that steers
    a terminal, no more than the last WORDS letters."""
    hidden = _QUERY.sub(r"\1***", _USER.sub("://***@", text))
    line = render.clean(" ".join(hidden.split()))
    return line if len(line) <= WORDS else f"...{line[-WORDS:]}"
