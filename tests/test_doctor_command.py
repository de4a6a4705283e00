"""`doctor` as a user runs it: with and without a project, for this machine and another, whatever hangs or is broken."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests import project
from tests.edges import engine_stub as stub

SCHEMA = json.loads((project.HOME / "schemas" / "doctor.schema.json").read_text())
TOLD = ("--driver", "535.104.05", "--gpu", "NVIDIA A100")
SLOW = 10
"""Seconds that a start of Python may take beside the limit, on a machine that does other things too."""


class Machine:
    """A machine without an engine, a driver and a toolkit, and a project on it."""

    def __init__(self, root: Path) -> None:
        self.programs = root / "bin"
        self.programs.mkdir()
        self.engine = root / "engine.sock"
        self.project = project.make(root / "project")
        self.empty = project.Project(root=root / "empty", ports=(0, 0, 0))
        self.empty.root.mkdir()

    def run(self, *words: str, here: project.Project | None = None, code: int = 0, **variables: str) -> Any:
        """The document that `doctor --json` prints."""
        ended = self.ask(*words, "--json", here=here, **variables)
        assert ended.returncode == code, ended.stdout + ended.stderr
        document = json.loads(ended.stdout)
        if "checks" in document:
            jsonschema.validate(document, SCHEMA)
        return document

    def ask(self, *words: str, here: project.Project | None = None, **variables: str) -> Any:
        """The command, ended."""
        facts = {"DOCKER_HOST": f"unix://{self.engine}", "PATH": f"{self.programs}:/usr/bin:/bin"}
        return (here or self.project).run("doctor", *words, **facts | variables)

    def answered(self, rule: str, *words: str) -> Any:
        """The command, ended; again while a check is not there because the engine's stand-in was too slow, as it is
        on a machine that is busy."""
        ended = self.ask(*words, "--json")
        for _ in range(4):
            if rule in rules(json.loads(ended.stdout), "ok"):
                break
            ended = self.ask(*words, "--json")
        return ended

    def put(self, name: str, text: str) -> None:
        """A program on this machine's PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A bare machine."""
    return Machine(tmp_path)


def rules(document: Any, state: str) -> list[str]:
    """The rules of the checks with a state."""
    return [check["rule"] for check in document["checks"] if check["state"] == state]


@pytest.mark.parametrize("tag", ["23.07-py3", "23.08-py3"])
def test_the_tutorials_server_from_a_laptop(machine: Machine, tag: str) -> None:
    """Driver 535 with an A100 runs both of the tutorial's images, without this machine being looked at."""
    found = machine.run("--image", tag, *TOLD, "--recommend", here=machine.empty)
    assert found["fit"] is True
    assert found["image"] == f"nvcr.io/nvidia/tritonserver:{tag}"
    assert (rules(found, "error"), rules(found, "warning")) == ([], ["security-floor"])
    assert found["recommendation"]["tag"] == "26.04"
    assert found["machine"]["given"] is True
    assert not any(machine.empty.root.iterdir())


def test_what_it_says(machine: Machine) -> None:
    """As text there is a line a check, its source, the recommendation with reasons, and a verdict; no colour."""
    ended = machine.ask("--image", "23.08-py3", *TOLD, "--recommend", here=machine.empty)
    assert ended.returncode == 0
    lines = ended.stdout.splitlines()
    assert lines[0] == "ok       driver: NVIDIA driver 535.104.05; NVIDIA A100 (8.0)"
    assert any(line.startswith("         see: NVIDIA's security bulletin") for line in lines)
    assert "recommended: nvcr.io/nvidia/tritonserver:26.04-py3" in lines
    assert "    not 26.05 to 26.10:" in lines
    assert lines[-1] == "The machine that was told is fit: 0 errors, 1 warnings."
    assert "\x1b" not in ended.stdout
    assert ended.stderr == ""


def test_a_server_that_cannot(machine: Machine) -> None:
    """A driver that is too old and GPUs of which one forbids it are unfit, exit 5, with what mends it."""
    gpus = ("--gpu", "NVIDIA A100", "--gpu", "NVIDIA GeForce RTX 3090")
    found = machine.run("--image", "23.08-py3", "--driver", "470.57.02", *gpus, here=machine.empty, code=5)
    assert found["fit"] is False
    assert rules(found, "error") == ["driver-too-old"]
    (check,) = [check for check in found["checks"] if check["state"] == "error"]
    assert {mend["system"] for mend in check["mend"]} == {"ubuntu", "debian"}
    assert len(found["machine"]["driver"]["gpus"]) == 2


@pytest.mark.parametrize(("runtime", "code"), [("docker", 5), ("auto", 0), ("embedded", 0)])
def test_without_an_engine(machine: Machine, runtime: str, code: int) -> None:
    """Without an engine `docker` is unfit, `auto` warns, and `embedded` has no use for one."""
    machine.project.edit("runtime: embedded", f"runtime: {runtime}")
    found = machine.run(code=code)
    state = {"docker": "error", "auto": "warning", "embedded": "ok"}[runtime]
    assert ("engine-missing" in rules(found, state)) == (runtime != "embedded")
    assert found["machine"]["engine"] == {"state": "missing", "address": f"unix://{machine.engine}"}
    assert ("ports" in rules(found, "ok")) is True
    assert not (machine.project.root / ".pipeline").exists()


def test_without_a_project(machine: Machine) -> None:
    """In any folder the machine is judged as a GPU server, and nothing is written."""
    found = machine.run(here=machine.empty, code=5)
    assert found["image"] is None
    assert {"engine-missing", "driver-missing", "toolkit-missing"} <= set(rules(found, "error"))
    assert not any(machine.empty.root.iterdir())


def hang(machine: Machine) -> None:
    """An engine that takes connections and never answers, and programs that never end."""
    for name in ("nvidia-smi", "nvidia-ctk"):
        machine.put(name, "exec sleep 300")


@pytest.mark.parametrize("programs", [False, True], ids=["engine", "everything"])
def test_what_hangs_costs_no_more_than_the_limit(machine: Machine, programs: bool) -> None:  # noqa: FBT001
    """An engine that never answers, and a driver that hangs, are told as such in time; all else is known."""
    if programs:
        hang(machine)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(machine.engine))
        silent.listen(16)
        start = time.monotonic()
        found = machine.run("--image", "23.08-py3", code=5)
        assert time.monotonic() - start < 2 + SLOW
    assert "engine-hung" in rules(found, "error")
    assert ("driver-hung" in rules(found, "error")) == programs
    assert {"system", "disk", "ports"} <= set(rules(found, "ok"))


def test_an_engine_that_hangs_when_asked_for_an_image(machine: Machine) -> None:
    """An engine that answers at first and then hangs is left, and the table is used."""
    name = "nvcr.io/nvidia/tritonserver:23.08-py3"
    machine.project.edit("runtime: embedded", "runtime: auto")
    answers: dict[str, Any] = {"GET /info": (200, {"Runtimes": {"nvidia": {}}}), f"GET /images/{name}/json": stub.HANG}
    with stub.serving(machine.engine, answers):
        ended = machine.answered("engine")
    assert re.search(rf"{name} was not asked itself: .* did not answer within 0\.5 s", ended.stderr)
    found = json.loads(ended.stdout)
    assert "engine" in rules(found, "ok")
    assert "security-floor" in rules(found, "warning")


def put_folder(path: Path) -> None:
    """A folder where a file should be."""
    path.unlink(missing_ok=True)
    path.mkdir()


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (lambda root: (root / "pipeline.yaml").write_text("version: 1\nmodells: {}\n"), "spec-broken"),
    (lambda root: (root / "pipeline.yaml").write_bytes(b"\xff\xfe"), "spec-broken"),
    (lambda root: put_folder(root / "pipeline.yaml"), "spec-broken"),
    (lambda root: (root / "pipeline.lock").write_text("{"), "lock-broken"),
    (lambda root: put_folder(root / "pipeline.lock"), "lock-broken"),
]


@pytest.mark.parametrize(("damage", "rule"), BROKEN, ids=["faults", "bytes", "folder", "torn lock", "folder as lock"])
def test_a_broken_project(machine: Machine, damage: Callable[[Path], object], rule: str) -> None:
    """A spec or lock that cannot be read is told of, and the machine is judged nevertheless."""
    damage(machine.project.root)
    found = machine.run("--image", "23.08-py3", *TOLD)
    assert rules(found, "warning") == [rule, *(["torchscript-unknown"] * (rule == "lock-broken")), "security-floor"]
    assert found["checks"][0]["needed"]
    ended = machine.ask()
    assert f"[{rule}]" in ended.stdout.splitlines()[0]
    assert "ports" in ended.stdout or rule == "spec-broken"
    assert "Traceback" not in ended.stderr


def test_a_spec_that_is_not_there(machine: Machine) -> None:
    """A file that was named and is not there is told of; the machine is judged without it."""
    found = machine.run("--spec", "other.yaml", *TOLD)
    assert rules(found, "warning") == ["spec-broken"]
    assert "there is no other.yaml" in found["checks"][0]["found"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--driver", "newest"), "'newest' is not the version of an NVIDIA driver"),
        (("--gpu", "\x1b[2J"), "is not the name of a GPU"),
        (("--image", "No Image"), "is not the name of an image"),
        (("--model", "other"), "pipeline.yaml has no model other"),
    ],
)
def test_words_that_are_none(machine: Machine, words: tuple[str, ...], message: str) -> None:
    """What is told and cannot be is refused with a hint, exit 3, and JSON has it too."""
    ended = machine.ask(*words)
    assert ended.returncode == 3
    assert message in ended.stderr
    assert "hint: " in ended.stderr
    assert "\x1b" not in ended.stderr
    assert message in machine.run(*words, code=3)["error"]


def test_the_specs_formats_count(machine: Machine) -> None:
    """The recommendation is for the spec's artifacts: of one that is not built yet it says what is open."""
    found = machine.run(*TOLD, "--recommend")
    assert found["recommendation"]["tag"] == "26.04"
    assert "recommended-unbuilt" in rules(found, "warning")
    assert "torchscript-unknown" in {note["rule"] for note in found["recommendation"]["notes"]}


def test_this_machines_driver(machine: Machine) -> None:
    """What `nvidia-smi` tells is judged against the spec's image, and mended where it is too old."""
    machine.put("nvidia-smi", "echo '450.80.02, NVIDIA GeForce GTX 1080, 6.1'")
    machine.project.edit("runtime: embedded", "runtime: docker")
    found = machine.run(code=5)
    assert "driver" in rules(found, "ok")
    assert "driver-too-old" in rules(found, "error")


def test_nothing_heavy_is_needed(machine: Machine) -> None:
    """Neither torch nor the Docker SDK nor a Triton client is imported where no engine answers."""
    code = (
        "import os, sys; os.environ['DOCKER_HOST'] = 'unix:///nowhere'; from pipeline import cli; "
        "cli.main(['doctor']); print({'torch', 'docker', 'tritonclient', 'requests', 'numpy'} & {*sys.modules})"
    )
    assert machine.project.python(code).stdout.splitlines()[-1] == "set()"


def test_the_image_tells_of_itself(machine: Machine) -> None:
    """An image that the engine has, and that was asked before, is judged by what it told: the answer was kept."""
    name, identity = "mine/triton:1", "sha256:" + "7" * 64
    told = {"id": identity, "format": 1, "variables": {"CUDA_VERSION": "12.2.1"}, "inside": {}}
    told["inside"] = {"python": "3.10.12", "ubuntu": "22.04", "backends": {"python": ""}, "aoti": None}
    folder = machine.project.root / ".pipeline" / "images"
    folder.mkdir(parents=True)
    (folder / f"{'7' * 64}.json").write_text(json.dumps(told))
    about = {"Id": identity, "Os": "linux", "Architecture": "amd64", "Size": 1, "Config": {"Env": []}}
    answers = {"GET /info": (200, {"Runtimes": {}}), f"GET /images/{name}/json": (200, about)}
    with stub.serving(machine.engine, answers) as asked:
        ended = machine.answered("image-told", "--image", name)
    found = json.loads(ended.stdout)
    assert ended.returncode == 5
    assert "image-told" in rules(found, "ok")
    assert "backend-missing" in rules(found, "error")
    assert not [each for each in asked.asked if each.startswith("POST")]


def test_it_is_no_other_users_business(machine: Machine) -> None:
    """An engine that this user may not use is told as such, with the command that lets them in."""
    with stub.serving(machine.engine, {}):
        machine.engine.chmod(0)
        facts = {"DOCKER_HOST": f"unix://{machine.engine}", "PATH": os.environ["PATH"]}
        ended = machine.project.run_as_another_user("doctor", "--json", "--image", "23.08-py3", **facts)
    assert ended.returncode == 5, ended.stderr
    denied = next(check for check in json.loads(ended.stdout)["checks"] if check["rule"] == "engine-denied")
    assert denied["mend"][0]["commands"][0] == 'sudo usermod -aG docker "$USER"'
