"""What commands print with --json, as data, and the schemas of these documents."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pipeline.core import diff, findings, plan, proof, release, report, schema

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


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """`validate --json` of a spec without errors."""

    format: Format = 1
    valid: bool
    models: tuple[str, ...]
    findings: Annotated[tuple[findings.Finding, ...], Meta(description="Warnings, each with its place in the spec.")]


class Rendering(msgspec.Struct, frozen=True, kw_only=True):
    """`render --json`: what was asked for, the rest empty."""

    format: Format = 1
    configs: Annotated[dict[str, str], Meta(description="The text of each model's config.pbtxt.")] = {}
    unlocked: Annotated[
        tuple[str, ...], Meta(description="Models whose digest is not known before the next `lock`, and left out.")
    ] = ()
    docker_run: Annotated[str | None, Meta(description="The `docker run` line.")] = None
    compose: Annotated[str | None, Meta(description="The compose file.")] = None


class CpuImage(msgspec.Struct, frozen=True, kw_only=True):
    """`image --json`: the CPU image on the engine."""

    format: Format = 1
    tag: str
    id: Annotated[str, Meta(description="The engine's id of it.")]
    base: Annotated[str, Meta(description="What it stands on, by its digest, or, where it has none, by its id.")]
    inputs: Annotated[str, Meta(description="The digest of all that went in: equal inputs give equal files.")]
    size: Annotated[int, Meta(description="Bytes.")]


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """`rebuild --json`: what was built again from its sources and is what the lock says."""

    format: Format = 1
    digest: Annotated[str, Meta(description="The root digest of the lock, which the rebuild has too.")]
    versions: tuple[proof.Part, ...]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What any command prints with --json where it fails."""

    error: str
    hint: Annotated[str, Meta(description="What to do next.")]
    details: tuple[str, ...]
    findings: tuple[findings.Finding, ...]


_TITLES: dict[str, tuple[type, str]] = {
    "failure": (Failure, "A failed command"),
    "history": (History, "What was deployed"),
    "image": (CpuImage, "The CPU image"),
    "outcome": (Outcome, "A deployment"),
    "plan": (plan.Document, "A plan"),
    "rebuilt": (Rebuilt, "A lock that was proven"),
    "rendering": (Rendering, "Configs, a run line or a compose file"),
    "report": (report.Report, "Report of a verification"),
    "status": (Status, "What runs"),
    "validation": (Validation, "A valid spec"),
}


def schemas() -> dict[str, dict[str, Any]]:
    """The schema (draft 2020-12) of each document, by the name of its file in schemas/."""
    from pipeline.core import doctor, updates  # noqa: PLC0415 - with all that they know, for this alone

    known = {"doctor": (doctor.Diagnosis, "What a machine is fit for"), "updates": (updates.Updates, "What is newer")}
    titles = {**known, **_TITLES}
    return {f"{name}.schema.json": schema.of(kind, title) for name, (kind, title) in sorted(titles.items())}
