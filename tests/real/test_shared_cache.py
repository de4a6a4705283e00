"""A shared cache between checkouts, with real exports: built once, and never where a cache has it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cache_server, faults, project
from tests.edges import hub_server

pytestmark = pytest.mark.real

NO_TORCH = {"PIPELINE_TORCH_PYTHON": "/bin/false"}
"""An interpreter that fails whatever it is started for."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[project.Project, cache_server.Server]]:
    """A checkout that has built both versions and given them to a cache."""
    made = project.make(tmp_path_factory.mktemp("first") / "project")
    with cache_server.serve() as server:
        ended = made.run("export", "--push", "--cache", server.url)
        assert ended.returncode == 0, ended.stderr
        assert f"gave 2 builds to the cache {server.url}" in ended.stderr
        yield made, server


def checkout(first: project.Project, root: Path) -> project.Project:
    """What git has of the first project, in another folder: no store."""
    for name in ("requirements", "models.py", "pipeline.yaml", "pipeline.lock"):
        source, target = first.root / name, root / name
        root.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return project.Project(root=root, ports=first.ports)


def exported(ended: subprocess.CompletedProcess[str]) -> int:
    """How many exports a run had."""
    return ended.stderr.count("exporting ")


def test_second_checkout_builds_nothing(built: tuple[project.Project, cache_server.Server], tmp_path: Path) -> None:
    """An empty store and a cache: 0 exports, no torch, the same lock and store; `needs` asks for no environment."""
    first, server = built
    second = checkout(first, tmp_path / "second")
    variables = {**NO_TORCH, "PIPELINE_CACHE": server.url}
    needed = second.run("needs", "export", **variables)
    assert (needed.returncode, needed.stdout) == (0, ""), needed.stderr
    third = checkout(first, tmp_path / "third")
    server.asked.clear()
    ended = third.run("export", **variables)
    assert ended.returncode == 0, ended.stderr
    assert exported(ended) == 0
    assert ended.stderr.count("took tiny version ") == 2
    assert [each for each in server.asked if each.startswith("PUT")] == []
    for each in (second, third):
        assert (each.root / "pipeline.lock").read_bytes() == (first.root / "pipeline.lock").read_bytes()
        assert faults.contents(each.root / ".pipeline/store") == faults.contents(first.root / ".pipeline/store")


def test_two_clean_builds(built: tuple[project.Project, cache_server.Server], tmp_path: Path) -> None:
    """Without a lock and without a store, in two folders, under two users, one with the cache and one without: one root
    digest, and one repository, byte for byte."""
    first, server = built
    alone, shared = checkout(first, tmp_path / "alone"), checkout(first, tmp_path / "elsewhere" / "shared")
    for each in (alone, shared):
        (each.root / "pipeline.lock").unlink()
    ended = alone.run("export", PYTHONHASHSEED="1")
    assert (ended.returncode, exported(ended)) == (0, 2), ended.stderr
    ended = shared.run_as_another_user("export", PIPELINE_CACHE=server.url, PYTHONHASHSEED="2", **NO_TORCH)
    assert (ended.returncode, exported(ended)) == (0, 0), ended.stderr
    assert alone.good("assemble") == shared.good("assemble")
    digests = [json.loads((each.root / "pipeline.lock").read_bytes())["digest"] for each in (first, alone, shared)]
    assert digests[0] == digests[1] == digests[2]
    left, right = (faults.contents(each.root / "model_repository") for each in (alone, shared))
    assert left == right
    assert left


def test_no_torch_is_imported(built: tuple[project.Project, cache_server.Server], tmp_path: Path) -> None:
    """A run that takes everything from the cache imports neither torch nor a client of a cloud."""
    second = checkout(built[0], tmp_path / "second")
    heavy = ["torch", "transformers", "tritonclient", "obstore"]
    code = (
        f"import sys; from pipeline import cli; code = cli.main(['export', '--cache', {built[1].url!r}]); "
        f"print([name for name in {heavy} if name in sys.modules]); sys.exit(code)"
    )
    ended = second.python(code)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"


def test_a_cache_that_lies(built: tuple[project.Project, cache_server.Server], tmp_path: Path) -> None:
    """Row 9: every byte is another, and the build goes on without it: the lock comes out as it was."""
    first, server = built
    second = checkout(first, tmp_path / "second")
    server.trouble = cache_server.other_bytes
    try:
        ended = second.run("export", "--cache", server.url)
    finally:
        server.trouble = lambda handler, body: False
    assert ended.returncode == 0, ended.stderr
    assert exported(ended) == 2
    assert ended.stderr.count("is not taken from the cache") == 2
    assert (second.root / "pipeline.lock").read_bytes() == (first.root / "pipeline.lock").read_bytes()


def test_no_credential_anywhere(built: tuple[project.Project, cache_server.Server], tmp_path: Path) -> None:
    """Row 63: the token and the password of a cache are in no output and no file that a run leaves."""
    first, server = built
    second = checkout(first, tmp_path / "second")
    server.trouble = hub_server.failing(500)
    address = server.url.replace("//", "//name:canary-password@")
    try:
        ended = second.run("export", "--push", PIPELINE_CACHE=address, PIPELINE_CACHE_TOKEN="canary-token")
    finally:
        server.trouble = lambda handler, body: False
    assert ended.returncode == 0, ended.stderr
    assert "Bearer canary-token" in server.sent
    left = b"".join(body for body in faults.contents(second.root).values() if isinstance(body, bytes))
    assert "canary" not in ended.stdout + ended.stderr
    assert b"canary" not in left


def test_push_needs_a_cache(built: tuple[project.Project, cache_server.Server], tmp_path: Path) -> None:
    """`--push` without a cache is refused before anything is built."""
    ended = checkout(built[0], tmp_path / "second").run("export", "--push", **NO_TORCH)
    assert ended.returncode == 1
    assert "--push was said, and no cache is named" in ended.stderr
    assert "--cache URL" in ended.stderr
