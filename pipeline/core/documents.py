"""What commands print with --json, as data, and the schemas of these documents."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pipeline.core import diff, findings, plan, release, report, schema

Format = Annotated[Literal[1], Meta(description="The version of this format.")]
Sync = Literal["Synced", "OutOfSync"]
Health = Literal["Healthy", "Degraded", "Progressing", "Missing"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One model: what is served of it, beside what should be."""

    model: str
    versions: Annotated[tuple[int, ...], Meta(description="The versions that are READY.")]
    sync: Annotated[Sync, Meta(description="Whether it is what the spec says, on disk and live.")]
    health: Annotated[
        Health, Meta(description="Healthy: every version has just given the answer of its smallest golden.")
    ]
    digest: Annotated[str | None, Meta(description="The digest in the live config.")]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`status --json`."""

    format: Format = 1
    server: Annotated[str, Meta(description="The server in words.")]
    release: Annotated[int | None, Meta(description="The release that was applied last.")]
    models: tuple[Row, ...]
    pending: Annotated[bool, Meta(description="Whether anything is not as it should be: the exit code is 2 then.")]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """`history --json`."""

    format: Format = 1
    current: Annotated[int | None, Meta(description="The release that was applied last.")]
    entries: Annotated[tuple[release.Entry, ...], Meta(description="Every run that changed something, oldest first.")]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`apply --json`, `rollback --json`, `heal --json`: what was done, and what proved it."""

    format: Format = 1
    changes: Annotated[tuple[diff.Change, ...], Meta(description="What was changed; empty where nothing had to be.")]
    release: Annotated[int | None, Meta(description="The release that is live now.")]
    report: Annotated[report.Report | None, Meta(description="The answers that prove it.")]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What any command prints with --json where it fails."""

    error: str
    hint: Annotated[str, Meta(description="What to do next.")]
    details: tuple[str, ...]
    findings: tuple[findings.Finding, ...]


_TITLES: dict[str, tuple[type, str]] = {
    "failure": (Failure, "A failed command"),
    "history": (History, "What was deployed"),
    "outcome": (Outcome, "A deployment"),
    "plan": (plan.Document, "A plan"),
    "report": (report.Report, "Report of a verification"),
    "status": (Status, "What runs"),
}


def schemas() -> dict[str, dict[str, Any]]:
    """The schema (draft 2020-12) of each document, by the name of its file in schemas/."""
    return {f"{name}.schema.json": schema.of(kind, title) for name, (kind, title) in _TITLES.items()}
