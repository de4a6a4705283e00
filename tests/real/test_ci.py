"""The workflows of a project that `init` made, their scripts run in order on fresh clones, as GitHub would run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import checkout, project, runner
from tests.edges import test_github

pytestmark = pytest.mark.real

OTHER = """\
  other:
    source: {{factory: {{callable: "models:build", options: {{scale: 2.5}}, seed: 3}}}}
    export: trace
    max_batch_size: 4
    inputs:
      left: {{dtype: FP32, shape: [batch, 3]}}
      right: {{dtype: FP32, shape: [batch, 3]}}
    outputs:
      answer: {{dtype: FP32, shape: [batch, 2]}}
"""
PULL_REQUEST = {"github.event_name": "pull_request"}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> runner.Runner:
    """A runner for a repository that `init` made, with two small models in its spec."""
    home = tmp_path_factory.mktemp("ci")
    work = home / "work"
    started = subprocess.run(
        [sys.executable, "-m", "pipeline", "init", str(work)],
        cwd=runner.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 0, started.stderr
    http, grpc, metrics = project.free_ports()
    (work / "pipeline.yaml").write_text((project.SPEC + OTHER).format(http=http, grpc=grpc, metrics=metrics))
    (work / "models.py").write_text(project.MODELS)
    (home / ".gitconfig").write_text(checkout.SETTINGS)
    known = {
        "github.event_name": "push",
        "github.event.pull_request.base.sha": "main",
        "github.event.pull_request.number": "7",
        "github.server_url": "https://github.example",
        "github.workflow_ref": "team/models/.github/workflows/release.yml@refs/tags/v1",
        "github.token": "token",
        "github.repository": "team/models",
        "github.ref_name": "v1",
        "inputs.deploy": True,
        "vars.GPU_RUNNER": "",
        "vars.DEPLOY_RUNNER": "server",
        "vars.PIPELINE_CACHE": "",
    }
    made = runner.make(home / "origin.git", home, known)
    made.variables = {"PIPELINE_PYTHON": sys.executable, "HOME": str(home)}
    git(work, "init", "--quiet", "--initial-branch", "main")
    commit(work, "begun")
    subprocess.run(["git", "clone", "--quiet", "--bare", str(work), str(made.origin)], check=True)
    git(work, "remote", "add", "origin", str(made.origin))
    return made


def git(folder: Path, *words: str) -> str:
    """What git says, with settings of the test's own."""
    settings = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"]
    return subprocess.run(["git", *settings, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(work: Path, message: str) -> None:
    """All that is there as a commit."""
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", message)


def push(machine: runner.Runner, branch: str) -> None:
    """The work as a branch of the origin; what came out of the run is committed first, as its reader would do."""
    git(machine.home / "work", "push", "--quiet", "--force", "origin", f"HEAD:{branch}")


def good(machine: runner.Runner, workflow: str, name: str, **more: object) -> runner.Job:
    """A job that must go well."""
    job = machine.run(workflow, name, **more)  # type: ignore[arg-type]
    assert job.code == 0, job.said
    return job


def matrix(job: runner.Job) -> list[dict[str, object]]:
    """The jobs that a plan asks for."""
    found: list[dict[str, object]] = json.loads(job.outputs["matrix.matrix"])["include"]
    assert job.outputs["matrix.any"] == ("true" if found else "false")
    return found


def take_up(machine: runner.Runner, message: str) -> None:
    """Commits the lock and the configs that a run has left as an artifact."""
    papers, work = machine.home / "artifacts" / "papers-verify", machine.home / "work"
    shutil.copy(papers / "pipeline.lock", work)
    shutil.copytree(papers / "model_repository", work / "model_repository", dirs_exist_ok=True)
    commit(work, message)


def flow(machine: runner.Runner, ref: str, *, known: dict[str, str] | None = None) -> tuple[runner.Job, runner.Job]:
    """A whole run: validate, plan, a build for each job of the matrix, verify; the second and the last of them."""
    machine.forget()
    good(machine, "pipeline.yml", "validate", ref=ref)
    planned = good(machine, "pipeline.yml", "plan", ref=ref, known=known)
    for each in matrix(planned):
        good(machine, "pipeline.yml", "build", ref=ref, known={"matrix.model": str(each["model"])})
    return planned, good(machine, "pipeline.yml", "verify", ref=ref, known=known)


def test_from_the_first_commit_to_a_pull_request(machine: runner.Runner) -> None:
    """A fresh clone is validated, planned, built and verified, and then nothing is left; a pull request that renames a
    tensor names it, builds one model, and takes the other from the cache; the next run has nothing to build."""
    push(machine, "main")
    planned, verified = flow(machine, "main")
    assert [each["model"] for each in matrix(planned)] == ["other", "tiny"]
    assert "artifact other/1" in planned.summary
    assert "goldens verified against Triton" in verified.summary
    assert "0 changes are left." in verified.said
    take_up(machine, "locked")
    push(machine, "main")

    work = machine.home / "work"
    text = (work / "pipeline.yaml").read_text()
    head, tail = text.split("  other:\n")
    (work / "pipeline.yaml").write_text(f"{head}  other:\n{tail.replace('left:', 'links:')}")
    commit(work, "a tensor is renamed")
    push(machine, "change")
    planned, verified = flow(machine, "change", known=PULL_REQUEST)
    assert [each["model"] for each in matrix(planned)] == ["other"]
    assert "input[0].name: left -> links" in planned.summary
    assert "links" in verified.summary
    assert "#### Goldens" in verified.summary
    assert "exporting" not in verified.said
    take_up(machine, "agreed")
    push(machine, "change")

    planned, verified = flow(machine, "change")
    assert matrix(planned) == []
    assert "exporting" not in planned.said + verified.said


@pytest.fixture
def hub(machine: runner.Runner) -> Iterator[test_github.GitHub]:
    """A GitHub on the loopback address, for the machine's jobs."""
    made = test_github.GitHub()
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    machine.variables |= {"GITHUB_API_URL": made.url, "GITHUB_REPOSITORY": "team/models"}
    yield made
    made.shutdown()
    made.server_close()


def test_the_comment(machine: runner.Runner, hub: test_github.GitHub) -> None:
    """One comment, with the last that is known, and edited by the next run; a token without the right stops nothing."""
    machine.forget()
    papers = machine.home / "artifacts"
    for job, text in (("plan", "what is planned"), ("verify", "what was done")):
        (papers / f"papers-{job}").mkdir(parents=True, exist_ok=True)
        (papers / f"papers-{job}" / "summary.md").write_text(text)
        good(machine, "pipeline.yml", "comment")
        assert [each["body"].splitlines()[1] for each in hub.comments] == [text]
    hub.status = 403
    assert "the step summary has the text" in good(machine, "pipeline.yml", "comment").said


def command(machine: runner.Runner, name: str) -> subprocess.CompletedProcess[str]:
    """A command where it is deployed, as a person there would run it."""
    environment = {**os.environ, "PYTHONPATH": str(runner.ROOT), "PIPELINE_TORCH_PYTHON": sys.executable}
    words = [sys.executable, "-m", "pipeline", name]
    return subprocess.run(
        words, cwd=machine.home / "deployed", env=environment, capture_output=True, text=True, check=False
    )


def test_deployed_and_drifted(machine: runner.Runner, hub: test_github.GitHub) -> None:
    """What was verified is deployed without an export; drift opens the one issue, and its end closes it."""
    git(machine.home / "work", "push", "--quiet", "--force", "origin", "HEAD:main")
    flow(machine, "main")
    try:
        deployed = good(machine, "pipeline.yml", "deploy", kept="deployed")
        assert "exporting" not in deployed.said
        assert "Release 1 is live." in deployed.said
        assert "nothing has drifted" in good(machine, "drift.yml", "drift", kept="deployed").said
        config = deployed.folder / "model_repository" / "tiny" / "config.pbtxt"
        config.chmod(0o644)
        config.write_text(config.read_text() + "# by hand\n")
        good(machine, "drift.yml", "drift", kept="deployed")
        assert "model tiny" in hub.issues[0]["body"]
        assert command(machine, "heal").returncode == 0
        good(machine, "drift.yml", "drift", kept="deployed")
        assert [each["state"] for each in hub.issues] == ["closed"]
    finally:
        command(machine, "down")


def test_one_session_as_a_step(machine: runner.Runner) -> None:
    """The composite action runs a session with arguments, one a line, whatever is in them."""
    steps = yaml.safe_load((runner.ROOT / ".github/actions/pipeline/action.yml").read_text())["runs"]["steps"]
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", steps[-1]["run"]],
        cwd=machine.home / "work",
        env={
            **os.environ,
            **machine.variables,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(runner.ROOT),
            "SESSION": "validate",
            "ARGUMENTS": "--json\n--model\n$(touch x); `touch y`\n",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "has no model $(touch x); `touch y`" in done.stdout
    assert not {"x", "y"} & {path.name for path in (machine.home / "work").iterdir()}


def test_a_release(machine: runner.Runner) -> None:
    """A tag is built from its sources, held against the lock, documented, packed the same twice, and published."""
    git(machine.home / "work", "push", "--quiet", "--force", "origin", "HEAD:main")
    packs = []
    for _ in range(2):
        machine.forget()
        job = good(machine, "release.yml", "build")
        packs.append((job.folder / "release" / "model_repository.tar").read_bytes())
    assert packs[0] == packs[1]
    published = good(machine, "release.yml", "publish")
    assert "gh release create v1 --verify-tag" in (machine.home / "called").read_text()
    assert (published.folder / "release" / "bom.cdx.json").is_file()
