"""Verify: what is served is asked, and every way to be wrong is seen."""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pipeline import edges
from pipeline.core import config, errors, render, report, rounds, spec
from pipeline.stages import verify
from tests import standin

DIGEST = "sha256:" + "d" * 64
MODEL = spec.Model(
    name="bert",
    max_batch_size=4,
    inputs={
        "input__0": spec.Input(dtype="INT32", shape=("batch", 3)),
        "input__1": spec.Input(dtype="INT32", shape=("batch", 3)),
    },
    outputs={
        "output__0": spec.Output(dtype="FP32", shape=("batch", 2)),
        "output__1": spec.Output(dtype="INT64", shape=("batch",)),
    },
    axes={},
    versions={number: spec.Version(number=number, source=spec.Source(), export=None) for number in (1, 2)},
    version_policy="all",
    golden=spec.Golden(),
    config={},
)
SPEC = spec.Spec(target=spec.Target(image="x"), models={"bert": MODEL})


def right(version: int, inputs: standin.Arrays) -> standin.Arrays:
    """The model: asymmetric in its inputs, and another one for each version."""
    first, second = inputs["input__0"].astype(np.float32), inputs["input__1"].astype(np.float32)
    real = np.stack([first.sum(1) * version + 0.5, (first - 2 * second).sum(1)], 1).astype(np.float32)
    return {"output__0": real, "output__1": np.asarray(first.argmax(1), np.int64)}


class World:
    """A project with goldens, and the stand-in that serves it."""

    def __init__(self, root: Path, triton: standin.Triton) -> None:
        self.triton = triton
        self.project = edges.Project(spec=root / "pipeline.yaml")
        self.goldens = {version: self.make(root, version) for version in (1, 2)}
        triton.models["bert"] = right
        triton.configs["bert"] = config.model_config(MODEL, digest=DIGEST)
        triton.index = [{"name": "bert", "version": number, "state": "READY"} for number in ("1", "2")]
        triton.metadata["bert"] = {
            "name": "bert",
            "inputs": [{"name": name, "datatype": "INT32", "shape": [-1, 3]} for name in MODEL.inputs],
            "outputs": [
                {"name": "output__0", "datatype": "FP32", "shape": [-1, 2]},
                {"name": "output__1", "datatype": "INT64", "shape": [-1]},
            ],
        }

    def make(self, root: Path, version: int, *, nan: bool = False) -> verify.Golden:
        """A golden file, as the export makes it."""
        tensors: standin.Arrays = {}
        for batch in spec.batches(MODEL):
            numbers = np.random.default_rng(batch)
            inputs = {name: numbers.integers(0, 100, (batch, 3)).astype(np.int32) for name in MODEL.inputs}
            outputs = right(version, inputs)
            if nan:
                outputs["output__0"][0, 0] = np.nan
            tensors |= {f"{batch}/input/{name}": array for name, array in inputs.items()}
            tensors |= {f"{batch}/output/{name}": array for name, array in outputs.items()}
        path = root / f"golden-{version}.safetensors"
        save_file(tensors, path, metadata={"pipeline": "{}"})
        return verify.Golden(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())

    def verify(self, **rules: Any) -> report.Report:
        """Verifies the world as it is."""
        server = verify.Server(id="ours", http=self.triton.http, grpc=self.triton.grpc)
        claims = {"bert": verify.Claim(digest=DIGEST, goldens=self.goldens)}
        return verify.verify(self.project, SPEC, claims, server, verify.Rules(**{"timeout": 10, **rules}))

    def failures(self) -> list[str]:
        """The names of the folders to repeat failures from."""
        folder = self.project.state / "failures"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture(scope="module")
def triton() -> Iterator[standin.Triton]:
    """One stand-in for all tests."""
    with standin.serve() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, triton: standin.Triton) -> World:
    """A world where all is well."""
    triton.id = "ours"
    triton.asked.clear()
    return World(tmp_path, triton)


def test_all_is_asked_and_well(world: World) -> None:
    """Every served version is asked every golden, over both protocols, and often; nothing is left behind."""
    made = world.verify()
    assert report.passed(made), report.dump_json(made)
    assert [(case.version, case.protocol, case.batch) for case in made.cases] == [
        (version, protocol, batch) for version in (1, 2) for protocol in ("http", "grpc") for batch in (1, 2, 4)
    ]
    assert report.questions(made) == {("bert", 1): rounds.QUESTIONS, ("bert", 2): rounds.QUESTIONS}
    assert min(case.repeats for case in made.cases) >= 2
    assert len(world.triton.asked) == sum(case.repeats for case in made.cases)
    assert all(case.milliseconds > 0 for case in made.cases)
    assert made.server == report.Server(id="ours", version="2.51.0")
    assert world.failures() == []


def change(output: str, act: Callable[[Any], Any]) -> standin.Model:
    """The model with one output changed."""

    def changed(version: int, inputs: standin.Arrays) -> standin.Arrays:
        outputs = right(version, inputs)
        return {**outputs, output: np.ascontiguousarray(act(outputs[output]))}

    return changed


def nan(array: Any) -> Any:
    """The array with one NaN in it."""
    array[-1, 1] = np.nan
    return array


WRONG: dict[str, tuple[standin.Model, str]] = {
    "value": (change("output__0", lambda array: array + 0.01 * abs(array)), "value"),
    "integer": (change("output__1", lambda array: array + 1), "value"),
    "shape": (change("output__0", lambda array: array[:, :1]), "shape"),
    "dtype": (change("output__0", lambda array: array.astype(np.float64)), "dtype"),
    "nan": (change("output__0", nan), "not-finite"),
    "infinity": (change("output__0", lambda array: array * np.float32(np.inf)), "not-finite"),
    "columns": (change("output__0", lambda array: array[:, ::-1]), "value"),
    "swapped inputs": (
        lambda version, inputs: right(version, {"input__0": inputs["input__1"], "input__1": inputs["input__0"]}),
        "value",
    ),
    "other version": (lambda version, inputs: right(3 - version, inputs), "value"),
}


@pytest.mark.parametrize("wrong", sorted(WRONG))
def test_a_wrong_answer_fails(world: World, wrong: str) -> None:
    """Rows 45 and 46: a wrong value, shape, type, order or version, NaN and infinity fail every case."""
    world.triton.models["bert"], reason = WRONG[wrong]
    made = world.verify()
    assert not report.passed(made)
    assert {case.outcome for case in made.cases if case.batch > 1} == {"failed"}
    assert {mismatch.reason for case in made.cases for mismatch in case.mismatches} == {reason}


def test_a_missing_output_is_an_error(world: World) -> None:
    """A server that leaves an output out is told so."""
    world.triton.models["bert"] = lambda version, inputs: {"output__1": right(version, inputs)["output__1"]}
    made = world.verify()
    assert {case.outcome for case in made.cases} == {"error"}
    assert "output__0" in made.cases[0].message


def test_a_refusal_is_an_error(world: World) -> None:
    """A server that refuses is told in its own words, and asked about the rest."""

    def refuse(version: int, inputs: standin.Arrays) -> standin.Arrays:
        if version == 1:
            msg = "PyTorch execute failure: boom"
            raise RuntimeError(msg)
        return right(version, inputs)

    world.triton.models["bert"] = refuse
    made = world.verify()
    assert {(case.version, case.outcome) for case in made.cases} == {(1, "error"), (2, "passed")}
    assert all("boom" in case.message for case in made.cases if case.version == 1)


def test_what_is_stuck_is_asked_once(world: World) -> None:
    """Row 48: a version that does not answer in time is an error, and no further question waits as long."""
    released = threading.Event()

    def stuck(version: int, inputs: standin.Arrays) -> standin.Arrays:
        if version == 1:
            released.wait(10)
        return right(version, inputs)

    world.triton.models["bert"] = stuck
    try:
        made = world.verify(timeout=0.5)
    finally:
        released.set()
    assert [(case.outcome, case.protocol) for case in made.cases if case.version == 1] == [("error", "http")]
    assert {case.outcome for case in made.cases if case.version == 2} == {"passed"}
    assert "did not answer over http" in made.cases[0].message


@pytest.mark.parametrize("phase", [0, 1, 7, 13])
def test_wrong_now_and_then_fails(world: World, phase: int) -> None:
    """Row 49: a model with one wrong answer in twenty, whichever it is, always fails, and is not asked until green."""
    counts = {1: 0, 2: 0}

    def flaky(version: int, inputs: standin.Arrays) -> standin.Arrays:
        counts[version] += 1
        outputs = right(version, inputs)
        if counts[version] % 20 == phase:
            outputs["output__0"] += 1
        return outputs

    world.triton.models["bert"] = flaky
    made = world.verify()
    assert not report.passed(made)
    assert {case.version for case in made.cases if case.outcome == "failed"} == {1, 2}
    assert report.questions(made) == {}
    assert max(counts.values()) <= 20 + 12
    later = [case for case in made.cases if case.outcome == "failed" and case.repeats > 1]
    for case in later[:1]:  # its script asks until it sees it again
        script = [sys.executable, str(world.project.root / case.folder / "repeat.py")]
        again = subprocess.run(script, env={}, capture_output=True, text=True, check=False)
        assert (again.returncode, again.stderr) == (1, "")
        assert "does not agree" in again.stdout
    assert bool(later) == (phase != 1)


def test_a_slow_model_keeps_to_its_seconds(world: World) -> None:
    """A model that takes long is asked every golden twice, more only while it has seconds, and the report tells."""

    def slow(version: int, inputs: standin.Arrays) -> standin.Arrays:
        time.sleep(0.05 if version == 1 else 0.0)
        return right(version, inputs)

    world.triton.models["bert"] = slow
    made = world.verify(repeat=rounds.Rules(seconds=0.1))
    assert report.passed(made)
    assert {case.repeats for case in made.cases if case.version == 1} == {2}
    began = time.monotonic()
    made = world.verify(repeat=rounds.Rules(seconds=1.0))
    assert 12 <= report.questions(made)["bert", 1] < 24
    assert time.monotonic() - began < 4
    assert f"bert 1 was slow: it answered {report.questions(made)['bert', 1]} questions" in render.show_report(made)


def test_a_golden_that_has_nan_proves_nothing(world: World, tmp_path: Path) -> None:
    """Row 46: a NaN in the golden fails even where the server answers NaN too."""
    world.goldens = {version: world.make(tmp_path, version, nan=True) for version in (1, 2)}

    def same(version: int, inputs: standin.Arrays) -> standin.Arrays:
        outputs = right(version, inputs)
        outputs["output__0"][0, 0] = np.nan
        return outputs

    world.triton.models["bert"] = same
    assert {case.outcome for case in world.verify().cases} == {"failed"}


def test_an_edited_golden_is_not_asked(world: World) -> None:
    """Row 47: an edited, a missing and a foreign golden are findings, and their version is not asked."""
    path = world.goldens[1].path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    world.goldens[2].path.unlink()
    made = world.verify()
    assert not report.passed(made)
    assert made.cases == ()
    assert [(finding.rule, finding.version) for finding in made.findings] == [
        ("golden-digest", 1),
        ("golden-digest", 2),
    ]
    whole = world.make(world.project.root, 2)
    world.goldens = {1: verify.Golden(path=whole.path, sha256=world.goldens[1].sha256), 2: whole}
    made = world.verify()
    assert [(finding.rule, finding.version) for finding in made.findings] == [("golden-digest", 1)]
    assert {case.version for case in made.cases} == {2}
    world.goldens = {}
    assert {finding.rule for finding in world.verify().findings} == {"golden-missing"}


@pytest.mark.parametrize("harm", ["garbage", "no batch"])
def test_a_golden_that_cannot_be_read(world: World, harm: str) -> None:
    """A golden with the right digest that is no golden is a finding, not a crash."""
    path = world.goldens[1].path
    if harm == "garbage":
        path.write_bytes(b"garbage")
    else:
        save_file({name: array for name, array in load_file(path).items() if not name.startswith("2/")}, path)
    world.goldens[1] = verify.Golden(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    made = world.verify()
    assert [finding.rule for finding in made.findings] == ["golden-content"]
    assert not report.passed(made)


def test_a_foreign_server_is_asked_nothing(world: World) -> None:
    """Row 51: a server that is not ours is a finding, and gets no question."""
    world.triton.id = "theirs"
    made = world.verify()
    assert [finding.rule for finding in made.findings] == ["server-identity"]
    assert not report.passed(made)
    assert world.triton.asked == []


def test_no_server(world: World) -> None:
    """Where nothing listens it is said, with what to do."""
    server = verify.Server(id="ours", http=1, grpc=1)
    with pytest.raises(errors.PipelineError, match="nothing listens") as caught:
        verify.verify(world.project, SPEC, {}, server)
    assert caught.value.hint


DRIFT: dict[str, tuple[Callable[[standin.Triton], object], str, str]] = {
    "digest": (
        lambda triton: triton.configs["bert"]["parameters"]["pipeline_digest"].update(string_value="sha256:0"),
        "live-digest",
        "sha256:0",
    ),
    "config": (lambda triton: triton.configs["bert"].update(max_batch_size=8), "live-config", "max_batch_size"),
    "type": (lambda triton: triton.metadata["bert"]["inputs"][1].update(datatype="INT64"), "live-metadata", "input__1"),
    "shape": (lambda triton: triton.metadata["bert"]["outputs"][0].update(shape=[-1, 3]), "live-metadata", "[-1, 3]"),
    "output": (lambda triton: triton.metadata["bert"]["outputs"].pop(), "live-metadata", "output__1 is missing"),
    "versions": (lambda triton: triton.index[0].update(state="UNAVAILABLE"), "live-versions", "[2]"),
    "model": (lambda triton: triton.configs.pop("bert"), "live-model", "unknown model"),
}


@pytest.mark.parametrize("drift", sorted(DRIFT))
def test_a_live_server_that_is_not_as_declared(world: World, drift: str) -> None:
    """A live digest, config or metadata that is not the declared one is a finding, though all answers are right."""
    world.triton.configs = copy.deepcopy(world.triton.configs)
    act, rule, words = DRIFT[drift]
    act(world.triton)
    made = world.verify()
    assert {finding.rule for finding in made.findings} == {rule}
    assert words in made.findings[0].message
    assert made.findings[0].model == "bert"
    assert {case.outcome for case in made.cases} == {"passed"}
    assert not report.passed(made)


def test_a_failure_can_be_repeated_without_the_pipeline(world: World, tmp_path: Path) -> None:
    """A failure leaves its tensors, its report, and a script that sees it again; the next success takes it away."""
    world.triton.models["bert"] = change("output__0", lambda array: array + 1)
    made = world.verify()
    assert len(world.failures()) == len(made.cases) == 12
    scripts: list[list[str]] = []
    for protocol in ("http", "grpc"):
        folder = world.project.root / f".pipeline/failures/bert-2-{protocol}-b4"
        assert folder.relative_to(world.project.root).as_posix() in {case.folder for case in made.cases}
        assert json.loads((folder / "report.json").read_text())["batch"] == 4
        expected, got = (load_file(folder / f"{name}.safetensors") for name in ("expected", "got"))
        assert np.allclose(got["output__0"] - expected["output__0"], 1)
        assert load_file(folder / "inputs.safetensors").keys() == MODEL.inputs.keys()
        scripts.append([sys.executable, str(folder / "repeat.py")])
        again = subprocess.run(scripts[-1], cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
        assert (again.returncode, again.stderr) == (1, "")
        assert "does not agree" in again.stdout
    world.triton.models["bert"] = right
    for script in scripts:
        again = subprocess.run(script, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
        assert (again.returncode, again.stderr) == (0, "")
    assert report.passed(world.verify())
    assert world.failures() == []
