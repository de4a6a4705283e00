"""What a machine is fit for: fact sets as data against the verdicts and the recommendation that they must get."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.core import checks, doctor, findings, formats, machine, matrix, mending, render_doctor, spec
from pipeline.edges import facts

ROWS = matrix.parse(facts.releases())
CASES = sorted(Path(__file__).with_name("machines").glob("*.json"))
GIB = 1 << 30
SOUND: dict[str, Any] = {
    "system": {"id": "ubuntu", "version": "24.04", "name": "Ubuntu 24.04.3 LTS", "architecture": "x86_64"},
    "engine": {
        "state": "running",
        "address": "unix:///var/run/docker.sock",
        "version": "28.0.1",
        "runtimes": ["io.containerd.runc.v2", "nvidia", "runc"],
    },
    "driver": {"state": "works", "version": "580.65.06", "gpus": [{"name": "NVIDIA A100", "capability": "8.0"}]},
    "toolkit": "1.17.8",
    "disk": {"folder": "/var/lib/docker", "free": 200 * GIB, "size": 500 * GIB},
    "shm": {"folder": "/dev/shm", "free": 8 * GIB, "size": 8 * GIB},
    "ports": [{"name": "http", "number": 8000, "free": True}],
    "python": {"program": "python", "version": "3.11.2", "library": "/lib/libpython3.11.so.1.0", "torch": "2.13.0"},
}
"""A machine with nothing wrong; a case says what is otherwise."""


def examined(facts_of: dict[str, Any], want: dict[str, Any]) -> doctor.Diagnosis:
    """The diagnosis of the sound machine with these facts in place of its own."""
    wanted = msgspec.convert({"image": None, "recommend": True} | want, checks.Wanted)
    return doctor.examine(msgspec.convert(SOUND | facts_of, machine.Machine), ROWS, wanted)


def rules(made: doctor.Diagnosis, state: str) -> list[str]:
    """The rules of all checks with a state, sorted."""
    return sorted(check.rule for check in made.checks if check.state == state)


def test_there_are_enough_machines() -> None:
    """The table of fact sets spans what was promised: drivers 450 to 610, capabilities 6.0 to 10.0."""
    known = [json.loads(path.read_text())["machine"].get("driver", {}) for path in CASES]
    versions = {int(each["version"][:3]) for each in known if "version" in each}
    capabilities = {one["capability"] for each in known for one in each.get("gpus", ()) if "capability" in one}
    assert len(CASES) >= 50
    assert versions >= {450, 470, 510, 515, 525, 535, 545, 550, 560, 570, 580, 610}
    assert capabilities >= {"6.0", "6.1", "7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "10.0"}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_machine(path: Path) -> None:
    """Each machine gets exactly the errors, the warnings and the recommendation that its case names."""
    case = json.loads(path.read_text())
    made = examined(case["machine"], case["want"])
    expected = case["expect"]
    assert made.recommendation is not None
    assert {
        "errors": rules(made, "error"),
        "warnings": rules(made, "warning"),
        "recommended": made.recommendation.tag,
    } == expected | {"errors": sorted(expected["errors"]), "warnings": sorted(expected["warnings"])}
    assert made.fit == (not expected["errors"])


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_every_verdict_about_an_image_has_its_source(path: Path) -> None:
    """Whatever is said against an image or a release says where that is written."""
    case = json.loads(path.read_text())
    made = examined(case["machine"], case["want"])
    assert [
        check.rule for check in made.checks if check.name == "image" and check.state != "ok" and not check.source
    ] == []
    assert made.recommendation is not None
    against = [each for reason in made.recommendation.newer for each in reason.findings]
    unsourced = {each.rule for each in against if not each.source}
    assert unsourced <= {"torch-unknown", "tensorflow-unknown", "torch-aoti-unknown", "python-unknown"}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_what_can_be_installed_has_its_commands(path: Path) -> None:
    """An engine, driver or toolkit that is missing comes with commands for both systems, and with the page."""
    case = json.loads(path.read_text())
    installed = {"engine-missing", "driver-missing", "driver-failed", "toolkit-missing"}
    for check in examined(case["machine"], case["want"]).checks:
        if check.rule in installed:
            assert {mend.system for mend in check.mend} == {"ubuntu", "debian"}
            assert all(mend.source.startswith("https://") for mend in check.mend)


def commands() -> list[str]:
    """Every command that mends something."""
    mends = (
        *mending.docker(),
        *mending.restart(),
        *mending.member(),
        *mending.configure(),
        *mending.toolkit(),
        *mending.driver(580),
        *mending.persistence(),
        *mending.library("3.11.2"),
        *mending.room(),
        *mending.port(8000),
        *mending.environment(),
    )
    return [command for mend in mends for command in mend.commands]


@pytest.mark.parametrize("command", commands())
def test_commands_are_shell(command: str) -> None:
    """Every command is one line that a shell can read, without apt-key, over TLS only."""
    assert shlex.split(command)
    assert "\n" not in command
    assert "apt-key" not in command
    assert "http://" not in command


def test_keys_lie_in_keyrings() -> None:
    """Docker's and NVIDIA's sources are checked with their own key only."""
    docker, toolkit = ("\n".join(mend.commands) for mend in (mending.docker()[1], mending.toolkit()[0]))
    assert "Signed-By: /etc/apt/keyrings/docker.asc" in docker
    assert "download.docker.com/linux/debian/gpg -o /etc/apt/keyrings/docker.asc" in docker
    keyring = re.search(r"--dearmor -o (\S+)", toolkit)
    assert keyring
    assert f"signed-by={keyring[1]}" in toolkit


def test_the_system_gets_its_own_commands() -> None:
    """On Debian the commands for Debian are shown, on Ubuntu those for Ubuntu, elsewhere both."""
    gone = {"engine": {"state": "missing", "address": "unix:///x"}}
    texts = {
        name: render_doctor.show(examined(gone | {"system": {"id": name, "name": name, "like": like}}, {}))
        for name, like in (("debian", []), ("ubuntu", ["debian"]), ("linuxmint", ["ubuntu", "debian"]), ("fedora", []))
    }
    shown = {name: ("linux/debian" in text, "linux/ubuntu" in text) for name, text in texts.items()}
    assert shown == {
        "debian": (True, False),
        "ubuntu": (False, True),
        "linuxmint": (False, True),
        "fedora": (True, True),
    }


def test_what_could_not_be_found_out_is_a_warning() -> None:
    """A probe without an answer is told with its reason, and is never taken for fine."""
    nothing = machine.Machine(unknown={"engine": "no", "docker": "it hung", "ports": "not here"})
    made = doctor.examine(nothing, ROWS, checks.Wanted(image=None, runtime="auto", named=True))
    assert rules(made, "ok") == []
    assert "not known: it hung" in render_doctor.show(made)


def test_told_facts_leave_this_machine_out() -> None:
    """Another machine's driver and GPUs are judged, and nothing of this one."""
    told = machine.Machine(
        driver=machine.Driver(state="works", version="535.104.05", gpus=(machine.Gpu(name="NVIDIA A100"),)), given=True
    )
    made = doctor.examine(told, ROWS, doctor.wanted(None, named="23.08-py3", told=True, recommend=True))
    assert {check.name for check in made.checks} == {"driver", "image", "recommendation"}
    text = render_doctor.show(made)
    assert "recommended: nvcr.io/nvidia/tritonserver:26.04-py3" in text
    assert "not 26.05 to 26.10:" in text
    assert text.endswith("The machine that was told is fit: 0 errors, 1 warnings.\n")


@pytest.mark.parametrize(
    ("named", "image"),
    [
        ("23.08-py3", "nvcr.io/nvidia/tritonserver:23.08-py3"),
        ("local:1", "local:1"),
        ("nvcr.io/nvidia/tritonserver:26.08-py3", "nvcr.io/nvidia/tritonserver:26.08-py3"),
        (None, "nvcr.io/nvidia/tritonserver:24.10-py3"),
    ],
)
def test_an_image_may_be_named_by_its_tag(named: str | None, image: str) -> None:
    """A bare tag is NVIDIA's; without one the spec's image is judged."""
    target = spec.Target(image="nvcr.io/nvidia/tritonserver:24.10-py3", gpus=0)
    want = doctor.wanted(target, named=named)
    assert (want.image, want.named, want.gpus) == (image, named is not None, False)


def test_what_is_in_the_way_and_what_is_not() -> None:
    """Ports in use, little shared memory, a Python without its library and a missing torch are told with their mend."""
    made = examined(
        {
            "ports": [{"name": "http", "number": 8000, "free": False}, {"name": "grpc", "number": 8001, "free": True}],
            "shm": {"folder": "/dev/shm", "free": 1 << 26, "size": 1 << 26},
            "python": {"program": "python", "version": "3.12.1"},
        },
        {"runtime": "embedded", "recommend": False},
    )
    found = {check.rule: check for check in made.checks}
    assert rules(made, "error") == ["python-library"]
    assert rules(made, "warning") == ["port-in-use", "shm-small", "torch-missing"]
    assert found["python-library"].mend[0].commands[-1] == "sudo apt-get install -y libpython3.12"
    assert "8000" in found["port-in-use"].mend[0].commands[0]
    assert not made.fit


def test_a_driver_that_hangs_is_not_installed_again() -> None:
    """A driver that is there and slow gets the command that keeps it awake, not an installation."""
    made = examined({"driver": {"state": "hung"}}, {})
    (check,) = [check for check in made.checks if check.rule == "driver-hung"]
    assert check.mend == mending.persistence()


def test_texts_from_outside_are_not_obeyed() -> None:
    """What an engine or a driver says cannot colour or clear a terminal."""
    made = examined({"driver": {"state": "failed", "words": "\x1b[2Jbad"}}, {})
    assert "\x1b" not in render_doctor.show(made)
    assert "\\x1b[2Jbad" in render_doctor.show(made)
    assert "\x1b[31;1merror" in render_doctor.show(made, colour=True)


def test_models_are_named_in_what_is_said_of_them() -> None:
    """A verdict about an artifact names its model, in the text and in the finding."""
    artifact = formats.Artifact(format="tensorflow", model="old", version=2)
    made = examined(
        {}, {"image": "nvcr.io/nvidia/tritonserver:26.08-py3", "artifacts": [msgspec.to_builtins(artifact)]}
    )
    assert any(check.found.startswith("model old: ") for check in made.checks)
    (found,) = formats.judge(ROWS[-3], artifact)
    assert (found.model, found.version, found.severity) == ("old", 2, findings.Severity.ERROR)
