"""What of a spec can be newer: where it stands, and what is written there."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.core import compat, findings, image, machine, matrix, spec, updates
from pipeline.edges import facts

HEX, COMMIT = "ab" * 32, "c0ffee" + "0" * 34
ROWS = matrix.parse(facts.releases())
WHEEL = {"name": "n", "version": "0.1.0", "sha256": HEX, "path": "p"}
HUB = {"repo": "a/b", "revision": COMMIT, "architecture": "BertModel"}
DATA: dict[str, Any] = {
    "models": {
        "one": {"source": {"wheel": WHEEL}, "versions": {"1": None, "2": {"source": {"wheel": {"path": "q"}}}}},
        "two": {
            "source": {"wheel": WHEEL},
            "versions": {"2": {"source": {"wheel": {"version": "0.0.9", "sha256": HEX}}}},
        },
        "three": {"source": {"hub": HUB}},
        "four": {"source": {"hub": {**HUB, "revision": "main"}}},
        "six": {"source": "ensemble"},
        "five": {"source": {"config": {"architecture": "BertModel"}}},
    }
}
ALL = frozenset(DATA["models"])


def test_wheels() -> None:
    """A wheel is found where its version and its digest are written, with what a version's override inherits."""
    found = list(updates.wheels(DATA, ALL))
    assert [".".join(map(str, each.path)) for each in found] == [
        "models.one.source.wheel",
        "models.two.source.wheel",
        "models.two.versions.2.source.wheel",
    ]
    assert (found[2].source.name, found[2].source.version, found[2].source.path) == ("n", "0.0.9", "p")
    assert list(updates.wheels(DATA, frozenset({"five"}))) == []


@pytest.mark.parametrize(
    ("comment", "branch"), [("", "main"), ("dev", "dev"), ("two words", "main"), ("release/2", "release/2")]
)
def test_commits(comment: str, branch: str) -> None:
    """A full commit follows `main`, or the branch that the comment behind it names; what is no commit is the lock's."""
    (found,) = updates.commits(DATA, ALL, {("models", "three", "source", "hub", "revision"): comment})
    assert (found.path[1], found.source.repo, found.branch) == ("three", "a/b", branch)


def test_values() -> None:
    """An update of a wheel writes version and digest, one of a commit the revision; the same is none."""
    (first, *_), (commit,) = updates.wheels(DATA, ALL), updates.commits(DATA, ALL, {})
    newer = updates.of_wheel(first, "0.2.0", "cd" * 32)
    moved = updates.of_commit(commit, "f" * 40)
    assert newer is not None
    assert moved is not None
    assert updates.fields(newer) == {"version": "0.2.0", "sha256": "cd" * 32}
    assert moved.values == {"models.three.source.hub.revision": "f" * 40}
    assert updates.of_wheel(first, "0.1.0", "cd" * 32) is None
    assert updates.of_commit(commit, COMMIT) is None


def newest(text: str, driver: str = "", policy: compat.Policy = "warn") -> updates.Update | findings.Finding | None:
    """What is newer than an image, for a driver or for none."""
    gpu = machine.Gpu(name="NVIDIA A100", capability="8.0")
    known = machine.Driver(state="works", version=driver, gpus=(gpu,)) if driver else None
    return updates.of_image(text, ROWS, compat.Wanted(driver=known, policy=policy), gpus=True)


def test_image_without_a_driver() -> None:
    """The newest release of the table, where nothing speaks against it; that no driver was judged is said."""
    found = newest(f"{image.TRITON}:23.08-py3")
    assert isinstance(found, updates.Update)
    assert found.after == ROWS[-1].tag
    assert found.values == {"target.image": f"{image.TRITON}:{ROWS[-1].tag}-py3"}
    assert found.note == "no driver was judged: --driver and --gpu name those of the machine that serves"


def test_image_that_the_driver_runs() -> None:
    """doctor's rules hold: a driver of another time gets the newest release that it runs, and never an older one."""
    asked = compat.Wanted(
        driver=machine.Driver(
            state="works", version="535.104.05", gpus=(machine.Gpu(name="NVIDIA A100", capability="8.0"),)
        )
    )
    wanted = compat.recommend(ROWS, asked).tag
    found = newest(f"{image.TRITON}:22.01-py3", "535.104.05")
    assert isinstance(found, updates.Update)
    assert found.after == wanted
    assert newest(f"{image.TRITON}:{wanted}-py3", "535.104.05") is None
    assert newest(f"{image.TRITON}:{ROWS[-1].tag}-py3", "535.104.05") is None


@pytest.mark.parametrize(
    "text", ["triton-pipeline-cpu:24.10", "example.org/mine:1", f"{image.TRITON}:23.08-vllm-python-py3"]
)
def test_image_that_nobody_knows(text: str) -> None:
    """Of images that the table does not tell of, none is newer."""
    assert newest(text) is None


def test_a_mirror_stays_one() -> None:
    """An image from a mirror is updated at the mirror."""
    found = newest("mirror.example.org/nvidia/tritonserver:23.08-py3")
    assert isinstance(found, updates.Update)
    assert found.values["target.image"].startswith("mirror.example.org/nvidia/tritonserver:")


def test_a_digest_is_told() -> None:
    """The digest of a newer image is not known here: it is told, and left to a person."""
    found = newest(f"{image.TRITON}:23.08-py3@sha256:{HEX}")
    assert isinstance(found, findings.Finding)
    assert found.rule == "image-digest"


def test_sources_are_whole() -> None:
    """What is found is a source as the spec knows it."""
    (found,) = updates.commits(DATA, ALL, {})
    assert found.source == msgspec.convert(HUB, spec.HubSource)


def test_a_branch_that_moved() -> None:
    """A revision that is no commit is pinned by the lock: where the branch is elsewhere by now, that is told."""
    source = msgspec.convert({**HUB, "revision": "main"}, spec.HubSource)
    old = updates.Commit(path=("models", "m", "versions", 1, "source", "hub"), source=source)
    assert updates.moved(old, COMMIT, COMMIT) is None
    found = updates.moved(old, COMMIT, "f" * 40)
    assert found is not None
    assert (found.rule, found.model, found.version) == ("branch-moved", "m", 1)
    assert found.hint.endswith(f"`revision: {'f' * 40} # main`.")
