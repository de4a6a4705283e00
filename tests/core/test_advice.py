"""Warnings about fields, and fields that a release does not have: at their lines, and only where that is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core import catalog, findings, parse, tree, yamltext
from pipeline.core.rules import advice, newer
from pipeline.edges import facts

SPECS = Path(__file__).parents[1] / "specs"
KNOWN = catalog.parse(facts.model_config())


def told(path: Path, faults: list[tree.Fault]) -> list[str]:
    """One line a finding."""
    built = yamltext.load(path.read_bytes(), file=path.name)
    found = [built.finding(each) for each in faults]
    return [
        f"{each.where.line}:{each.where.column} {each.severity} {each.rule} {each.where.path} | {each.message}"
        + (f" | {each.hint}" if each.hint else "")
        for each in sorted(found, key=lambda each: each.where or findings.Where(file="", line=0, column=0))
        if each.where
    ]


def later(path: Path, release: str) -> list[tree.Fault]:
    """What came after the release."""
    declared = parse.parse_spec(path.read_bytes(), file=path.name)
    return list(newer.told(declared, KNOWN, release, what=f"the image {release}"))


def test_what_does_nothing_is_warned_of() -> None:
    """Each field that Triton accepts to no purpose has a warning with its line."""
    path = SPECS / "warned/settings.yaml"
    found = list(advice.told(parse.parse_spec(path.read_bytes(), file=path.name)))
    assert told(path, found) == path.with_suffix(".expected.txt").read_text(encoding="utf-8").splitlines()
    assert {each.severity for each in found} == {findings.Severity.WARNING}


@pytest.mark.parametrize("name", ["smallest", "sources", "text", "versions"])
def test_good_specs_have_no_warning(name: str) -> None:
    """A spec without such fields has none."""
    path = SPECS / f"good/{name}.yaml"
    assert list(advice.told(parse.parse_spec(path.read_bytes(), file=path.name))) == []


def test_a_field_that_came_later_is_told() -> None:
    """Each field and each value of an enum that the release has not, once, with the first release that has it."""
    path = SPECS / "warned/newer.yaml"
    found = later(path, "22.01")
    assert told(path, found) == path.with_suffix(".expected.txt").read_text(encoding="utf-8").splitlines()
    assert all("tritonclient" in each.source for each in found)


def test_a_later_release_has_them() -> None:
    """Release by release there are fewer, the first one that has a field included, and none in the end."""
    path = SPECS / "warned/newer.yaml"
    releases = ("22.01", "22.03", "22.07", "23.08", "23.11", "24.01", "24.08", "24.10", "24.11", "26.10")
    assert [len(later(path, each)) for each in releases] == [8, 7, 6, 5, 4, 3, 1, 1, 0, 0]


@pytest.mark.parametrize("release", ["", "latest", "??"])
def test_nothing_is_told_of_an_unknown_release(release: str) -> None:
    """Where the release is not known, nobody can say what it lacks."""
    assert later(SPECS / "warned/newer.yaml", release) == []
