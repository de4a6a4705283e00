"""The doctor joined: this machine or one that was told, judged by the matrix that ships; nothing heavy is imported."""

from __future__ import annotations

import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from pipeline import edges
from pipeline.core import build, errors, lock, parse, spec
from pipeline.edges import digests, store
from pipeline.stages import doctor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> edges.Project:
    """A project on a machine without an engine, a driver and a toolkit."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("PIPELINE_TORCH_PYTHON", sys.executable)
    return edges.Project(spec=tmp_path / "pipeline.yaml")


def target(**keys: object) -> spec.Target:
    """A target of the tutorial's image, on ports of its own."""
    ports = spec.Ports(http=18721, grpc=18722, metrics=18723)
    made: dict[str, object] = {"image": "nvcr.io/nvidia/tritonserver:23.08-py3", "ports": ports, **keys}
    return spec.Target(**made)  # type: ignore[arg-type]


@pytest.mark.parametrize(("runtime", "fit"), [("docker", False), ("auto", True)])
def test_this_machine(project: edges.Project, runtime: str, fit: bool) -> None:  # noqa: FBT001
    """Without an engine `docker` is unfit; `auto` has the embedded server, and warns."""
    start = time.monotonic()
    made = doctor.examine(project, target(runtime=runtime), doctor.Asked(), say=print)
    assert time.monotonic() - start < 2
    assert made.fit is fit
    assert {"system", "python", "docker", "driver", "toolkit", "disk", "ports", "image"} <= {
        c.name for c in made.checks
    }
    assert next(check for check in made.checks if check.rule == "engine-missing").mend


@pytest.mark.parametrize("tag", ["23.07-py3", "23.08-py3"])
def test_the_tutorials_server_from_a_laptop(project: edges.Project, tag: str) -> None:
    """Driver 535 runs both of the tutorial's images, and 26.04 on a data-center GPU: told, not found."""
    asked = doctor.Asked(image=tag, driver="535.104.05", gpus=("NVIDIA A100",), recommend=True)
    made = doctor.examine(project, None, asked, say=print)
    assert made.fit
    assert made.machine.given
    assert made.recommendation is not None
    assert made.recommendation.tag == "26.04"
    assert [check.rule for check in made.checks] == ["driver", "security-floor", "recommended"]


def test_a_spec_is_judged_for_another_machine(project: edges.Project) -> None:
    """The spec's image, policy and artifacts are judged for the machine that was told, whatever its runtime."""
    asked = doctor.Asked(driver="450.80.02", gpus=("NVIDIA GeForce GTX 1080",))
    made = doctor.examine(project, target(runtime="auto", gpus="none", policy="strict"), asked, say=print)
    assert [check.rule for check in made.checks if check.state == "error"] == ["driver-too-old", "security-floor"]


def test_gpus_without_a_driver_are_unknown(project: edges.Project) -> None:
    """Of a machine of which only the GPUs were told, the driver is unknown, and no release is recommended."""
    made = doctor.examine(project, None, doctor.Asked(gpus=("NVIDIA A100",), recommend=True), say=print)
    assert made.recommendation is not None
    assert made.recommendation.tag is None


@pytest.mark.parametrize(
    "asked",
    [
        doctor.Asked(driver="latest"),
        doctor.Asked(driver="535.104.05\n"),
        doctor.Asked(driver="5"),
        doctor.Asked(gpus=("",)),
        doctor.Asked(gpus=("a\x1b[2J",)),
        doctor.Asked(image="no such image"),
    ],
)
def test_what_is_told_must_be_what_it_says(project: edges.Project, asked: doctor.Asked) -> None:
    """A driver, GPU or image that is none is refused with a hint."""
    with pytest.raises(errors.InvalidSpec) as caught:
        doctor.examine(project, None, asked, say=print)
    assert caught.value.hint


def test_artifacts_of_a_spec(project: edges.Project) -> None:
    """What is built tells its operators, what is not built only its torch."""
    text = """
version: 1
target: {image: "nvcr.io/nvidia/tritonserver:23.08-py3"}
models:
  m:
    source: {config: {architecture: BertModel}}
    export: trace
    inputs: {a__0: {dtype: FP32, shape: [4]}}
    outputs: {b__0: {dtype: FP32, shape: [4]}}
    versions: {1: {}, 2: {}}
"""
    declared = parse.parse_spec(text.encode(), file="pipeline.yaml")
    source = build.Resolved(kind="config", identity={})
    built = lock.Version(source=source, key="ab" * 32, files={}, golden="0")
    locked = lock.Lock(
        image=lock.Image(reference=""),
        toolchain={},
        models={"m": lock.Model(digest="", config="", versions={"1": built})},
    )
    stored = store.Store(project.store, digests.Digests(project.state / "digests.json"))
    folder = stored.path(built.key)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "model.pt", "w") as archive:
        archive.writestr("model/code/__torch__.py", "torch.rms_norm(x, [4], w)")
    found = doctor.artifacts(declared, locked, stored, torch="2.13.0")
    assert [(each.model, each.version, each.torch, each.operators) for each in found] == [
        ("m", 1, "2.13.0", ("rms_norm",)),
        ("m", 2, "2.13.0", None),
    ]


def test_nothing_heavy_is_imported(project: edges.Project) -> None:
    """Neither torch nor the Docker SDK nor a Triton client is imported to answer."""
    code = (
        "import sys; from pathlib import Path; from pipeline import edges; from pipeline.stages import doctor\n"
        "doctor.examine(edges.Project(spec=Path(sys.argv[1])), None, doctor.Asked(image='23.08-py3'), say=print)\n"
        "print({'torch', 'docker', 'tritonclient', 'requests'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(project.spec)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
