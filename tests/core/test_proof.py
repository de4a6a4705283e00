"""Proof: which input, tool, file or record of a rebuild is not the locked one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from pipeline.core import build, lock, proof, spec

HEX, OTHER = "ab" * 32, "cd" * 32
SOURCE = build.Resolved(kind="factory", identity={"callable": "m:f", "seed": 0}, files={"m.py": HEX})
MADE = build.Build(
    model="bert",
    version=1,
    source=SOURCE,
    export=spec.Export(method="trace"),
    max_batch_size=4,
    inputs={},
    outputs={},
    axes={},
    golden=spec.Golden(),
    batches=(1,),
    tokenizer=None,
    toolchain={"torch": "2.13.0", "python": "3.11"},
    exporter=1,
)
FILES = {"model.pt": build.File(sha256=HEX, size=7)}
PINNED = lock.Version(source=SOURCE, key=build.key(MADE), files=FILES, golden=HEX)
BUILT = build.Built(key=PINNED.key, files=FILES, golden=HEX)
MODEL = lock.Model(digest="sha256:" + HEX, config=HEX, versions={"1": PINNED})
LOCKED = lock.Lock(image=lock.Image(reference="t"), toolchain=MADE.toolchain, models={"bert": MODEL})


def moved(**fields: Any) -> list[str]:
    """What is told of a build that differs in some fields."""
    return [each.message for each in proof.inputs(msgspec.structs.replace(MADE, **fields), LOCKED)]


def source(kind: str = "factory", files: Mapping[str, str] | None = None, **identity: Any) -> build.Resolved:
    """The source with other fields."""
    return build.Resolved(kind=kind, identity={**SOURCE.identity, **identity}, files=dict(files or SOURCE.files))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, []),
        ({"source": source(seed=1)}, ["source.factory.seed is 1, locked 0"]),
        ({"source": source(options={"a": 1})}, ['source.factory.options is {"a":1}, locked none']),
        ({"source": source(files={"m.py": OTHER})}, [f"the source's file m.py has sha256 {OTHER}, locked {HEX}"]),
        ({"source": source("config")}, ["its source is config, locked factory"]),
        ({"toolchain": {**MADE.toolchain, "torch": "2.14.0"}}, ["torch is 2.14.0, locked 2.13.0"]),
        ({"max_batch_size": 8}, ["its tensors, goldens, export options, steps or the exporter's code"]),
        ({"version": 2}, ["it is not in the lock"]),
    ],
)
def test_inputs(fields: dict[str, Any], told: list[str]) -> None:
    """Each input that moved is named with what it is and what was locked; one that shapes nothing is none."""
    found = moved(**fields)
    assert len(found) == len(told)
    assert all(line.startswith(each) for line, each in zip(found, told, strict=True))


def test_outputs() -> None:
    """Files and golden are compared by digest; where each build has other bytes, the golden alone is."""
    other = msgspec.structs.replace(BUILT, files={"model.pt": build.File(sha256=OTHER, size=7)}, golden=OTHER)
    loose = msgspec.structs.replace(PINNED, reproducible=False)
    assert proof.outputs(BUILT, PINNED) == {}
    assert proof.outputs(other, PINNED) == {
        "model.pt": f"model.pt has sha256 {OTHER}, locked {HEX}",
        "golden": f"golden has sha256 {OTHER}, locked {HEX}",
    }
    assert list(proof.outputs(other, loose)) == ["golden"]
    lost = msgspec.structs.replace(BUILT, files={})
    assert proof.outputs(lost, PINNED) == {"model.pt": f"model.pt has sha256 none, locked {HEX}"}


def test_records() -> None:
    """A config that changed is told, and whatever else moves the root digest."""
    sealed = msgspec.structs.replace(LOCKED, digest=lock.root(LOCKED))
    assert proof.records(sealed, sealed, whole=True) == ()
    model = msgspec.structs.replace(MODEL, config=OTHER)
    changed = msgspec.structs.replace(LOCKED, models={"bert": model})
    (found,) = proof.records(changed, sealed, whole=True)
    assert (found.rule, found.model) == ("rebuild-record", "bert")
    assert found.message == f"config.pbtxt has sha256 {OTHER}, locked {HEX}"
    less = msgspec.structs.replace(LOCKED, models={}, digest="sha256:0")
    (found,) = proof.records(less, sealed, whole=True)
    assert found.message.endswith(": the spec has no bert")
    assert proof.records(less, sealed, whole=False) == ()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (SOURCE, {"m.py": HEX}),
        (
            build.Resolved(kind="path", identity={"folder": "w"}, files={"config.json": HEX}),
            {"w/config.json": HEX},
        ),
        (build.Resolved(kind="file", identity={"path": "a/m.pt", "sha256": HEX}), {"a/m.pt": HEX}),
        (build.Resolved(kind="file", identity={"path": "a"}, files={"m/x": HEX}), {"a/m/x": HEX}),
        (build.Resolved(kind="hub", identity={"repo": "r"}, files={"config.json": HEX}), {}),
    ],
    ids=["factory", "path", "file", "folder", "hub"],
)
def test_places(given: build.Resolved, wanted: dict[str, str]) -> None:
    """A clean folder needs the project's own files, and not those that are fetched."""
    assert proof.places(given) == wanted


def test_places_of_an_ensemble() -> None:
    """A chain of models needs what each of its steps is made of."""
    step = build.Step(build=MADE, inputs={}, outputs={})
    none = build.Resolved(kind="ensemble", identity={})
    chain = msgspec.structs.replace(MADE, source=none, steps=(step,))
    assert proof.all_places(chain) == {"m.py": HEX}
