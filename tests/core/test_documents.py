"""What commands print with --json: each schema is committed, and holds for a document with everything in it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from pipeline.core import (
    checks,
    diff,
    doctor,
    documents,
    findings,
    machine,
    matrix,
    plan,
    proof,
    release,
    render,
    report,
    schema,
    updates,
)

ROOT = Path(__file__).resolve().parents[2]
CHANGE = diff.Change(
    kind=diff.Kind.LOAD,
    act=diff.Act.CHANGE,
    subject="bert",
    fields=(diff.Field(path="versions", old=[1], new=[1, 2]),),
    drift=True,
)
PLAN = plan.order([CHANGE], notes=["a warning"])
PROOF = report.Report(
    project="pipeline.yaml",
    server=report.Server(id="ours", version="2.51.0"),
    cases=(report.Case(model="bert", version=1, protocol="http", batch=1, outcome="passed"),),
)
ENTRY = release.Entry(
    release=3, digest="sha256:ab", command="apply", start="2026-11-23T10:00:00Z", seconds=4.5, result="applied"
)
ROW = documents.Row(model="bert", versions=(1, 2), sync="Synced", health="Healthy", digest="sha256:cd")
EXAMPLES: dict[str, msgspec.Struct] = {
    "failure": documents.Failure(
        error="no", hint="do", details=("a",), findings=(findings.Finding(rule="r", message="m"),)
    ),
    "doctor": doctor.examine(
        machine.Machine(driver=machine.Driver(state="missing"), unknown={"ports": "no"}),
        [matrix.Row(tag="23.08", cuda="12.2.1")],
        checks.Wanted(image="nvcr.io/nvidia/tritonserver:23.08-py3", recommend=True),
    ),
    "history": documents.History(current=3, entries=(ENTRY, msgspec.structs.replace(ENTRY, release=None))),
    "image": documents.CpuImage(tag="a:1", id="sha256:1", base="b@sha256:2", inputs="3", size=4),
    "outcome": documents.Outcome(changes=(CHANGE,), release=3, report=PROOF),
    "plan": plan.document(PLAN, basis="sha256:ef"),
    "rebuilt": documents.Rebuilt(
        digest="sha256:1", versions=(proof.Part(model="bert", version=1, key="2", exact=True),)
    ),
    "rendering": documents.Rendering(configs={"bert": "name: 1"}, unlocked=("bert",), docker_run="d", compose="c"),
    "report": PROOF,
    "updates": updates.Updates(
        written=True,
        updates=(
            updates.Update(
                kind="image",
                path="target.image",
                name="i",
                before="23.08",
                after="24.10",
                values={"target.image": "i:2"},
            ),
        ),
        findings=(findings.Finding(rule="r", message="m"),),
        plan=plan.document(PLAN, basis="sha256:ef"),
    ),
    "validation": documents.Validation(
        valid=True, models=("bert",), findings=(findings.Finding(rule="r", message="m"),)
    ),
    "status": documents.Status(server="Triton", release=None, models=(ROW,), pending=False),
}


def test_every_document_has_an_example() -> None:
    """No schema is left out below."""
    assert {f"{name}.schema.json" for name in EXAMPLES} == documents.schemas().keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_schema_is_committed_and_holds(name: str) -> None:
    """The file in schemas/ is what the types say, is a schema itself, and takes the example but no other thing."""
    found = documents.schemas()[f"{name}.schema.json"]
    assert (ROOT / "schemas" / f"{name}.schema.json").read_text() == schema.dump(found)
    jsonschema.Draft202012Validator.check_schema(found)
    validator = jsonschema.Draft202012Validator(found)
    document = json.loads(msgspec.json.encode(EXAMPLES[name]))
    validator.validate(document)
    for key in found["$defs"][found["$ref"].rpartition("/")[2]]["required"]:
        assert not validator.is_valid({each: value for each, value in document.items() if each != key})


def test_status_table() -> None:
    """The table has a line a model, and the release above it."""
    made = documents.Status(server="Triton runs.", release=3, models=(ROW,), pending=False)
    assert render.show_status(made).splitlines() == [
        "Triton runs.",
        "Release 3 was applied last.",
        "MODEL  VERSIONS  SYNC    HEALTH   DIGEST",
        "bert   1,2       Synced  Healthy  sha256:cd",
    ]


def test_history_table() -> None:
    """The newest run comes first, the current release has a star, a failure its reason."""
    failed = msgspec.structs.replace(ENTRY, release=None, result="failed", message="no\x1b[2J")
    made = documents.History(current=3, entries=(ENTRY, failed))
    head, newest, oldest = render.show_history(made).splitlines()
    assert head.split() == ["RELEASE", "COMMAND", "WHEN", "SECONDS", "RESULT", "DIGEST"]
    assert newest.startswith("-  ")
    assert "failed: no\\x1b[2J" in newest
    assert oldest.startswith("3* ")


def test_outcome_names_changes_proof_and_release() -> None:
    """What was done is listed with the signs of the plan, and ends with the release."""
    text = render.show_outcome(documents.Outcome(changes=(CHANGE,), release=3, report=PROOF))
    assert "  ~ live model bert" in text
    assert "1 of 1 goldens verified" in text
    assert text.endswith("Release 3 is live.\n")
    nothing = documents.Outcome(changes=(), release=3, report=None)
    assert render.show_outcome(nothing).startswith("No changes.")


def test_too_few_questions_are_told() -> None:
    """A version that was asked too seldom to show a rare fault has a line that says how likely it had shown."""
    server = report.Server(id="ours", version="2.51.0")
    cases = [
        report.Case(model=model, version=version, protocol=protocol, batch=1, outcome="passed", repeats=repeats)
        for model, version, repeats in (("slow", 1, 6), ("fast", 2, 45))
        for protocol in ("http", "grpc")
    ]  # fmt: skip
    text = render.show_report(report.Report(project="pipeline.yaml", server=server, cases=tuple(cases)))
    assert "slow 1 was slow: it answered 12 questions, which would meet 1 wrong answer in 20 in 46% of cases.\n" in text
    assert "fast 2 was slow" not in text
