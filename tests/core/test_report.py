"""The report: its JSON holds to the committed schema, its JUnit XML to XML."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import findings, report, schema

SCHEMA = schema.of(report.Report, "Report of a verification")
MISMATCH = findings.Mismatch(output="o", reason="value", expected="1.0", got="2.0", index=(0,), max_abs=1.0, share=0.5)
GOOD = report.Case(model="bert", version=1, protocol="http", batch=1, outcome="passed", milliseconds=1.5, repeats=2)
BAD = report.Case(
    model="bert", version=1, protocol="grpc", batch=2, outcome="failed", mismatches=(MISMATCH,), folder="failures/x"
)
BROKEN = report.Case(model="bert", version=2, protocol="http", batch=1, outcome="error", message="no answer")
FINDING = findings.Finding(rule="live-digest", message="other", hint="apply", model="bert")
WARNING = findings.Finding(rule="old", message="old", severity=findings.Severity.WARNING)


def made(*cases: report.Case, found: tuple[findings.Finding, ...] = ()) -> report.Report:
    """A report of these cases."""
    server = report.Server(id="ours", version="2.51.0")
    return report.Report(project="pipeline.yaml", server=server, cases=cases, findings=found)


def test_json_holds_to_the_schema() -> None:
    """A report with everything in it is valid by its schema."""
    document = json.loads(report.dump_json(made(GOOD, BAD, BROKEN, found=(FINDING, WARNING))))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document, SCHEMA)
    assert document["cases"][1]["mismatches"][0]["index"] == [0]


def test_passed() -> None:
    """Only a report whose every golden was answered, with no error beside, is passed; an empty one is not."""
    assert report.passed(made(GOOD))
    assert report.passed(made(GOOD, found=(WARNING,)))
    assert not report.passed(made())
    assert not report.passed(made(GOOD, BAD))
    assert not report.passed(made(GOOD, BROKEN))
    assert not report.passed(made(GOOD, found=(FINDING,)))


def test_junit_counts() -> None:
    """One suite a version and one for the rest, with failures and errors counted in each and in all."""
    root = ET.fromstring(report.dump_junit(made(GOOD, BAD, BROKEN, found=(FINDING, WARNING))))
    assert root.attrib == {"tests": "5", "failures": "2", "errors": "1"}
    assert [(suite.get("name"), suite.get("tests")) for suite in root] == [
        ("bert/1", "2"),
        ("bert/2", "1"),
        ("checks", "2"),
    ]
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("message") == str(MISMATCH)
    assert "To repeat it: failures/x" in (failure.text or "")


@given(st.text(st.characters(codec=None)))
def test_junit_takes_any_text(text: str) -> None:
    """Row 64: whatever a server says gives XML that parses, with controls made visible."""
    case = report.Case(model="m", version=1, protocol="http", batch=1, outcome="error", message=text)
    document = report.dump_junit(made(case, found=(findings.Finding(rule="r", message=text),)))
    root = ET.fromstring(document.encode())
    assert root.get("tests") == "2"
    assert not set(document) & (set(map(chr, range(32))) - {"\n", "\t"})
