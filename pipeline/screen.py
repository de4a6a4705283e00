"""What the user sees: results on standard output, all else on standard error. Nothing is decided here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import msgspec

from pipeline.core import documents, errors, findings, render


class Screen:
    """What the user sees. With --json, standard output has one JSON document and all else goes to standard error."""

    def __init__(self, json: bool) -> None:  # noqa: FBT001
        self.json = json
        wanted = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self.colour = wanted and sys.stdout.isatty() and not json
        self.actions = os.environ.get("GITHUB_ACTIONS") == "true"

    def say(self, line: str) -> None:
        """A line of progress."""
        print(render.clean(line), file=sys.stderr, flush=True)

    def show(self, text: str, data: object) -> None:
        """The command's result: as text, or as data with --json."""
        if self.json:
            text = msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n"
        sys.stdout.write(text)
        sys.stdout.flush()

    def warn(self, found: Iterable[findings.Finding]) -> None:
        """Findings that stop nothing, on standard error, and beside their lines where GitHub shows them."""
        warnings = tuple(found)
        text = render.show_findings(warnings, colour=self.colour and sys.stderr.isatty())
        if self.actions:
            text += render.workflow_commands(warnings)
        print(text, file=sys.stderr, end="", flush=True)

    def failed(self, error: errors.PipelineError) -> None:
        """An error, on standard error; with --json its data on standard output too."""
        colour = self.colour and sys.stderr.isatty()
        print(render.show_error(error, colour=colour), file=sys.stderr, end="", flush=True)
        if self.actions:
            found = error.findings or (findings.Finding(rule="failed", message=error.message, hint=error.hint),)
            print(render.workflow_commands(found), file=sys.stderr, end="", flush=True)
        if self.json:
            failure = documents.Failure(
                error=error.message, hint=error.hint, details=error.details, findings=error.findings
            )
            self.show("", failure)
