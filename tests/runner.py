"""A stand-in for GitHub's runner: the steps of a workflow's job in order, on a fresh clone, with the environment files.

Scripts run for real. Of the actions that ours use, it does what they do with files: artifacts and caches are folders.
Expressions are evaluated, with names that the test tells.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests import expressions

ROOT = Path(__file__).resolve().parents[1]
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_OUTPUT = re.compile(r"(?ms)^(\w+)<<(\S+)\n(.*?)\n\2$")
_SHELL = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]


@dataclass
class Job:
    """How a job ended: its outputs by step and name, its summary, what its scripts said, and its folder."""

    code: int
    outputs: dict[str, str]
    summary: str
    said: str
    folder: Path


@dataclass
class Runner:
    """A machine for jobs: `home` has its clones, artifacts and caches, `known` the names in expressions."""

    origin: Path
    home: Path
    known: dict[str, Any]
    variables: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def run(
        self, workflow: str, name: str, *, ref: str = "main", known: dict[str, Any] | None = None, kept: str = ""
    ) -> Job:
        """A job of a workflow of the clone. Its own conditions, and what it needs, are the test's to judge. On a runner
        that has `kept` a folder, that is brought to the branch, and what git ignores stays in it."""
        self.count += 1
        folder = self.home / (kept or f"{self.count}-{name}")
        if folder.exists():
            _git(folder, "pull", "--quiet")
        else:
            _git(self.home, "clone", "--quiet", "--branch", ref, str(self.origin), str(folder))
        document = yaml.safe_load((folder / ".github" / "workflows" / workflow).read_text())
        job = document["jobs"][name]
        made = Job(code=0, outputs={}, summary="", said="", folder=folder)
        for step in job["steps"]:
            self._step(step, made, {**document.get("env", {}), **job.get("env", {})}, known or {})
        return made

    def _step(self, step: dict[str, Any], job: Job, environment: dict[str, str], known: dict[str, Any]) -> None:
        table = {**self.known, **known}
        if not self._value(expressions.condition(step.get("if")), table, job):
            return
        environment = {key: self._fill(str(value), table, job) for key, value in environment.items()}
        table |= {f"env.{key}": value for key, value in environment.items()}
        given = {key: self._fill(str(value), table, job) for key, value in step.get("with", {}).items()}
        if "uses" in step:
            self._use(step["uses"].partition("@")[0], given, job.folder)
            return
        own = {key: self._fill(str(value), table, job) for key, value in step.get("env", {}).items()}
        self._script(step, {**environment, **own}, job)

    def _value(self, text: str, table: dict[str, Any], job: Job) -> Any:
        def hash_files(name: str) -> str:
            path = job.folder / name
            return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""

        words = {**expressions.status(good=job.code == 0, bad=job.code != 0), "hashFiles": hash_files}
        return expressions.evaluate(text, table, words)

    def _fill(self, text: str, table: dict[str, Any], job: Job) -> str:
        return _EXPRESSION.sub(lambda found: str(self._value(found[1], table, job)), text)

    def _script(self, step: dict[str, Any], environment: dict[str, str], job: Job) -> None:
        """Runs a script as GitHub does, and takes up what it wrote into the environment files."""
        assert "${{" not in step["run"], "an expression in a script"
        tools = self.home / "tools"
        told = {name: self.home / f"{self.count}-{name.lower()}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in told.values():
            path.write_text("")
        done = subprocess.run(
            [*_SHELL, step["run"]],
            cwd=job.folder,
            env={
                **os.environ,
                "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "GITHUB_ACTIONS": "true",
                "PYTHONPATH": str(ROOT),
                **self.variables,
                **environment,
                **{name: str(path) for name, path in told.items()},
            },
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        job.said += f"\n### {step['name']}: {done.returncode}\n{done.stdout}{done.stderr}"
        job.code = job.code or done.returncode
        job.summary += told["GITHUB_STEP_SUMMARY"].read_text()
        for name, _, value in _OUTPUT.findall(told["GITHUB_OUTPUT"].read_text()):
            job.outputs[f"{step.get('id')}.{name}"] = value

    def _use(self, action: str, given: dict[str, str], folder: Path) -> None:
        artifacts, caches = self.home / "artifacts", self.home / "caches"
        match action:
            case "actions/checkout":
                assert given["persist-credentials"] == "False"
            case "actions/upload-artifact":
                for line in given["path"].split():
                    if (folder / line).exists():
                        _copy(folder / line, artifacts / given["name"])
            case "actions/download-artifact":
                self._download(given, folder, artifacts)
            case "actions/cache/restore" | "actions/cache/save" as kind:
                self._cache(kind, given, folder, caches)
            case "actions/setup-python" | "actions/attest-build-provenance" | "actions/attest-sbom":
                named = given.get("subject-checksums") or given.get("subject-path")
                assert named is None or (folder / named).is_file(), given
            case other:
                msg = f"the stand-in does not know {other}"
                raise AssertionError(msg)

    def _download(self, given: dict[str, str], folder: Path, artifacts: Path) -> None:
        pattern = given.get("name") or given["pattern"]
        names = [path.name for path in sorted(artifacts.glob(pattern))]
        assert names or "pattern" in given, f"there is no artifact {pattern}"
        alone = "name" in given or given.get("merge-multiple") == "True"
        for name in names:
            _copy(artifacts / name, folder / given["path"] / ("" if alone else name))

    def _cache(self, kind: str, given: dict[str, str], folder: Path, caches: Path) -> None:
        """One cache, the newest: that is what a key or a prefix of it gives here."""
        if kind.endswith("save"):
            _copy(folder / given["path"], caches / "newest")
        elif (caches / "newest").exists():
            _copy(caches / "newest", folder / given["path"])

    def forget(self) -> None:
        """A new run has none of the artifacts of the one before."""
        shutil.rmtree(self.home / "artifacts", ignore_errors=True)


def make(origin: Path, home: Path, known: dict[str, Any]) -> Runner:
    """A machine with the tools that GitHub's have, which write down how they were called."""
    (home / "tools").mkdir(parents=True)
    for name in ("sudo", "gh"):
        tool = home / "tools" / name
        tool.write_text(f'#!/bin/sh\necho {name} "$@" >> {home}/called\n')
        tool.chmod(0o755)
    return Runner(origin=origin, home=home, known=known)


def _copy(source: Path, target: Path) -> None:
    """Files with their contents, as an artifact keeps them: without owners and rights."""
    if source.is_file():
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / source.name)
        return
    shutil.copytree(source, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def _git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
