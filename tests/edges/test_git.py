"""Git, on real repositories: only forward, nothing of a person's lost, no question asked, no secret shown, in time."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import errors
from pipeline.edges import git
from tests import checkout

MAIN = git.Upstream("origin", "main")


@pytest.fixture
def clones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> checkout.Clones:
    """An origin and two clones of it."""
    return checkout.make(tmp_path, monkeypatch)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def _script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def _gone(pid: int) -> bool:
    """True when the process ends within two seconds."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("text", "remote", "branch"),
    [("origin/main", "origin", "main"), ("up.stream-2/feature/a_b+c#1", "up.stream-2", "feature/a_b+c#1")],
)
def test_upstream_is_remote_and_branch(text: str, remote: str, branch: str) -> None:
    """The first slash parts them, and git agrees that the branch may have that name."""
    found = git.parse_upstream(text)
    assert (found.remote, found.branch, str(found)) == (remote, branch, text)
    subprocess.run(["git", "check-ref-format", "--branch", branch], check=True, capture_output=True)


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "main", "origin/", "/main", "origin//main", "origin/main/", "-o/main", "origin/-f", "origin/a/-f"),
        *("--upload-pack=touch x/main", "origin/main\n", "origin\n/main", "origin/ma in", "origin/a..b", "../main"),
        *("origin/a.lock", "origin/a.lock/b", "origin/a.", "origin/.a", "origin/@{u}", "origin/+main", "origin/a:b"),
        *("origin/m\u0430in", "origin/m\u0661", "http://host/x", "me@host:x/main", "origin/*", "origin/" + 300 * "a"),
        *("origin/main~1", "origin/main^", "origin/a\\b", "origin/a\x1b[31m", "origin/a?b", "origin/@"),
    ],
)  # fmt: skip
def test_odd_upstream_is_refused(text: str) -> None:
    """What is no plain name, an option or an expression above all, never reaches git."""
    with pytest.raises(errors.PipelineError, match="does not name a remote and a branch") as caught:
        git.parse_upstream(text)
    assert caught.value.message.isprintable()


@given(st.from_regex(r"[-.a@/l:+\n]{0,6}/[-.a@/l:+\n ]{0,8}(\.lock)?", fullmatch=True))
def test_no_upstream_looks_like_anything_else(text: str) -> None:
    """Whatever is accepted has no part that is an option, a range, a refspec or a hidden name, and is kept whole."""
    try:
        found = git.parse_upstream(text)
    except errors.PipelineError:
        return
    assert str(found) == text
    for part in text.split("/"):
        assert part
        assert part[0] not in "-.+"
    assert not re.search(r"\.\.|\.lock(/|$)|[:\s]|\.$|@\{", text)


def test_fetch_sees_a_new_commit_and_changes_nothing_here(clones: checkout.Clones) -> None:
    """The branch's commit is told; what is checked out, its branch and its files stay."""
    before = git.head(clones.here)
    new = clones.push("two")
    assert git.fetch(clones.here, MAIN, timeout=30) == new
    assert git.head(clones.here) == before == checkout.git(clones.here, "rev-parse", "main")
    assert (clones.here / "pipeline.yaml").read_text() == "first"
    assert git.is_fast_forward(clones.here, new)


def test_fast_forward_takes_commit_and_files(clones: checkout.Clones) -> None:
    """The checked-out branch and its files are those of the target, and a second time changes nothing."""
    new = clones.push("two")
    git.fetch(clones.here, MAIN, timeout=30)
    for _ in range(2):
        git.fast_forward(clones.here, new)
        assert git.head(clones.here) == new == checkout.git(clones.here, "rev-parse", "main")
        assert (clones.here / "pipeline.yaml").read_text() == "two"
        assert git.changed_files(clones.here) == ()


@pytest.mark.parametrize("how", ["rewritten", "diverged", "rewound"])
def test_only_forward(clones: checkout.Clones, how: str) -> None:
    """History that was rewritten, parted or taken back is no fast-forward, and is refused in git's own words."""
    before = clones.push("two")
    git.fast_forward(clones.here, git.fetch(clones.here, MAIN, timeout=30))
    if how == "rewritten":
        clones.rewrite()
    elif how == "diverged":
        clones.push("three")
        checkout.git(clones.here, "commit", "--quiet", "--allow-empty", "--message", "mine")
        before = git.head(clones.here)
    else:
        checkout.git(clones.there, "push", "--quiet", "--force", "origin", "HEAD~1:main")
    target = git.fetch(clones.here, MAIN, timeout=30)
    assert not git.is_fast_forward(clones.here, target)
    if how != "rewound":  # git calls that one "already up to date"
        with pytest.raises(
            errors.PipelineError, match=r"could not go forward to [0-9a-f]{12}: .*[Nn]ot possible to fast"
        ):
            git.fast_forward(clones.here, target)
    else:
        with pytest.raises(errors.PipelineError, match="something else is checked out"):
            git.fast_forward(clones.here, target)
    assert git.head(clones.here) == before


def test_changed_files_are_the_tracked_ones_of_the_folder(clones: checkout.Clones) -> None:
    """Edited, staged and removed files count, also in a project below the top; new ones, others and excepted not."""
    for name in ("sub/pipeline.yaml", "sub/staged", "sub/gone", "sub/model_repository/bert/config.pbtxt", "aside"):
        clones.push(name, name=name)
    git.fast_forward(clones.here, git.fetch(clones.here, MAIN, timeout=30))
    root = clones.here / "sub"
    assert git.changed_files(root) == ()
    (root / "pipeline.yaml").write_text("edited")
    (root / "staged").write_text("edited")
    checkout.git(root, "add", "staged")
    (root / "gone").unlink()
    (root / "model_repository/bert/config.pbtxt").write_text("edited")
    (root / "new").write_text("not tracked")
    (clones.here / "aside").write_text("outside of the project")
    own = "model_repository/bert/config.pbtxt"
    assert git.changed_files(root) == ("gone", own, "pipeline.yaml", "staged")
    assert git.changed_files(root, apart=["model_repository/*/config.pbtxt"]) == ("gone", "pipeline.yaml", "staged")


def test_a_touched_file_is_not_a_changed_one(clones: checkout.Clones) -> None:
    """Another time on the same bytes is no change."""
    os.utime(clones.here / "pipeline.yaml", (1, 1))
    assert git.changed_files(clones.here) == ()


@pytest.mark.parametrize("name", ["pipeline.lock", "new.txt"])
def test_local_changes_are_not_overwritten(clones: checkout.Clones, name: str) -> None:
    """A file with local changes, or one that git does not know, stops the way forward, is named, and stays."""
    checkout.git(clones.here, "config", "merge.autoStash", "true")
    new = clones.push("theirs", name=name)
    (clones.here / name).write_text("mine")
    git.fetch(clones.here, MAIN, timeout=30)
    with pytest.raises(errors.PipelineError, match=rf"would be overwritten by merge: {name} ") as caught:
        git.fast_forward(clones.here, new)
    assert "restore" in caught.value.hint
    assert (clones.here / name).read_text() == "mine"
    assert git.head(clones.here) != new


def test_a_rule_of_the_user_is_kept(clones: checkout.Clones) -> None:
    """Where the checkout takes signed commits only, one without a signature is refused."""
    checkout.git(clones.here, "config", "merge.verifySignatures", "true")
    new = clones.push("two")
    git.fetch(clones.here, MAIN, timeout=30)
    with pytest.raises(errors.PipelineError, match="does not have a GPG signature"):
        git.fast_forward(clones.here, new)


@pytest.mark.parametrize(
    ("upstream", "message"),
    [
        (git.Upstream("nowhere", "main"), "could not find the remote nowhere: error: No such remote 'nowhere'"),
        (git.Upstream("folder", "main"), "could not find the remote folder: error: No such remote 'folder'"),
        (
            git.Upstream("origin", "gone"),
            "could not fetch origin/gone: fatal: couldn't find remote ref refs/heads/gone",
        ),
    ],
)
def test_unknown_remote_or_branch(clones: checkout.Clones, upstream: git.Upstream, message: str) -> None:
    """Only a configured remote is asked, never a folder that has its name; git's words say what is missing."""
    checkout.git(clones.here, "clone", "--quiet", "--bare", str(clones.origin), "folder")
    with pytest.raises(errors.PipelineError, match=re.escape(message)) as caught:
        git.fetch(clones.here, upstream, timeout=30)
    assert caught.value.hint


def test_no_checkout(tmp_path: Path) -> None:
    """A folder outside of any repository, an empty repository and a folder that is not there are clear errors."""
    with pytest.raises(errors.PipelineError, match="could not read HEAD: fatal: not a git repository") as caught:
        git.head(tmp_path)
    assert "clone" in caught.value.hint
    checkout.git(tmp_path, "init", "--quiet")
    with pytest.raises(errors.PipelineError, match="could not read HEAD"):
        git.head(tmp_path)
    with pytest.raises(errors.PipelineError, match="No such file or directory"):
        git.head(tmp_path / "gone")


def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without git is unfit, and the hint says what it lacks."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.Unfit, match="cannot start git") as caught:
        git.head(tmp_path)
    assert "Install git" in caught.value.hint


@pytest.mark.parametrize("target", ["main", "--abort", "HEAD~1", "a" * 39, "A" * 40, "a" * 40 + "\n", ""])
def test_only_whole_commits_are_taken(clones: checkout.Clones, target: str) -> None:
    """A target is a commit's full name: no option, branch or expression."""
    for act in (git.fast_forward, git.is_fast_forward):
        with pytest.raises(errors.PipelineError, match="is not a commit's name in full"):
            act(clones.here, target)


def test_a_commit_that_is_not_there(clones: checkout.Clones) -> None:
    """A commit that nobody has is an error, not a history that has parted."""
    with pytest.raises(errors.PipelineError, match="could not compare with dddddddddddd: fatal: Not a valid commit"):
        git.is_fast_forward(clones.here, "d" * 40)


def test_no_network_shows_no_secret(clones: checkout.Clones) -> None:
    """A remote that refuses the connection is told in git's words, without user and token."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    clones.set_origin(f"http://user:canary@127.0.0.1:{port}/x.git?private_token=canary")
    with pytest.raises(errors.PipelineError, match="could not fetch origin/main: ") as caught:
        git.fetch(clones.here, MAIN, timeout=30)
    assert "canary" not in caught.value.message + caught.value.hint
    assert f"127.0.0.1:{port}" in caught.value.message


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_a_remote_that_never_answers_is_left_in_time(clones: checkout.Clones, silent: int, scheme: str) -> None:
    """A connection that stays silent ends at the time limit."""
    clones.set_origin(f"{scheme}://127.0.0.1:{silent}/x.git")
    began = time.monotonic()
    with pytest.raises(errors.PipelineError, match=r"`git fetch` did not end within 0\.3 s"):
        git.fetch(clones.here, MAIN, timeout=0.3)
    assert time.monotonic() - began < 0.3 + git.GRACE_SECONDS + 2


def test_the_children_of_git_end_with_it(
    clones: checkout.Clones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that git has started for the connection, and that will not end, is gone after the time limit."""
    pid = tmp_path / "pid"
    script = _script(tmp_path / "ssh", f"trap '' TERM; echo $$ > {pid}; while :; do sleep 0.1; done")
    monkeypatch.setattr(git, "GRACE_SECONDS", 0.2)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(script))
    monkeypatch.setenv("GIT_SSH_VARIANT", "simple")
    clones.set_origin("ssh://example.invalid/x.git")
    with pytest.raises(errors.PipelineError, match="did not end"):
        git.fetch(clones.here, MAIN, timeout=0.3)
    assert _gone(int(pid.read_text()))


def test_an_interrupt_ends_a_fetch(clones: checkout.Clones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while git waits for the remote ends git and passes on."""
    pid = tmp_path / "pid"
    script = _script(tmp_path / "ssh", f"echo $$ > {pid}; kill -INT {os.getpid()}; exec sleep 600")
    monkeypatch.setenv("GIT_SSH_COMMAND", str(script))
    monkeypatch.setenv("GIT_SSH_VARIANT", "simple")
    clones.set_origin("ssh://example.invalid/x.git")
    with pytest.raises(KeyboardInterrupt):
        git.fetch(clones.here, MAIN, timeout=30)
    assert _gone(int(pid.read_text()))


def test_an_interrupt_waits_for_a_fast_forward(clones: checkout.Clones) -> None:
    """Ctrl-C while files are replaced passes on when all of them are."""
    new = clones.push("two")
    git.fetch(clones.here, MAIN, timeout=30)
    hooks = clones.here / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    _script(hooks / "post-merge", f"kill -INT {os.getpid()}; sleep 0.4; touch done")
    with pytest.raises(KeyboardInterrupt):
        git.fast_forward(clones.here, new)
    assert (clones.here / "done").exists()
    assert git.head(clones.here) == new


def test_environment_is_what_git_needs(
    clones: checkout.Clones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and settings of the user arrive, no token of another program does, nothing asks or names another place."""
    seen = tmp_path / "seen"
    fake = tmp_path / "bin"
    fake.mkdir()
    _script(fake / "git", f"env > {seen}; echo {'a' * 40}")
    given = {
        "SSH_AUTH_SOCK": "/sock",
        "GIT_SSH_COMMAND": "ssh -i key",
        "GIT_ASKPASS": "/ask",
        "https_proxy": "http://p",
    }
    refused = {
        "HF_TOKEN": "canary",
        "GIT_DIR": "/other",
        "GIT_INDEX_FILE": "/i",
        "GIT_TRACE_CURL": "1",
        "DISPLAY": ":0",
    }
    for name, value in {**given, **refused, "GIT_TERMINAL_PROMPT": "1", "PATH": f"{fake}:{os.environ['PATH']}"}.items():
        monkeypatch.setenv(name, value)
    assert git.head(clones.here) == "a" * 40
    arrived = dict(line.partition("=")[::2] for line in seen.read_text().splitlines())
    assert arrived.items() >= {**given, "GIT_TERMINAL_PROMPT": "0", "HOME": os.environ["HOME"], "LC_ALL": "C"}.items()
    assert not arrived.keys() & refused.keys()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("fatal: cannot read 'https://me:canary@host/x.git/': no", "fatal: cannot read 'https://***@host/x.git/': no"),
        ("https://canary@host/x", "https://***@host/x"),
        ("https://me:ca@na/ry@host/x", "https://***@host/x"),
        ("https://me:canary canary@host/x", "https://***@host/x"),
        ("'https://host/x?token=canary&b=canary': no", "'https://host/x?***': no"),
        ("ssh://git@host/x", "ssh://***@host/x"),
        ("git@host:x.git: \x1b[31mno\r\n\tAborting\u202e", r"git@host:x.git: \x1b[31mno Aborting\x202e"),
        ("x" * 1000 + " fatal: why", "..." + "x" * (git.WORDS - 11) + " fatal: why"),
    ],
)  # fmt: skip
def test_words_of_git_are_safe_to_show(said: str, shown: str) -> None:
    """No user, password or token of an address is shown, no control character obeyed, and the end stays of a flood."""
    assert git.printable(said) == shown


def test_a_flood_does_not_cut_a_secret_in_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more words than are kept whole lines stay: never the end of an address whose begin is gone."""
    flood = tmp_path / "flood"
    flood.write_text("https://me:" + "canary" * git.SAID_BYTES + "@host/x\nfatal: the end\n")
    (tmp_path / "bin").mkdir()
    _script(tmp_path / "bin" / "git", f"cat {flood} >&2; exit 128")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(errors.PipelineError) as caught:
        git.head(tmp_path)
    assert caught.value.message == "git could not read HEAD: fatal: the end"
