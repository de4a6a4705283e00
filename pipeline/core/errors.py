"""Why a command could not do its work: each error owns its exit code and says what to do next.

A failed check is a `Finding`; an exception here means "could not find out" or "could not do".
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from pipeline.core import findings


class Exit(enum.IntEnum):
    """The exit codes, one meaning each (the table in the README)."""

    FINE = 0
    FAILED = 1
    PENDING = 2
    INVALID = 3
    UNVERIFIED = 4
    UNFIT = 5
    BUSY = 6
    ROLLED_BACK = 7
    INTERRUPTED = 130


class PipelineError(Exception):
    """A failure that a user can cause or mend. `details` are lines to show under the message, such as a log's tail."""

    exit_code = Exit.FAILED

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        details: Iterable[str] = (),
        found: Iterable[findings.Finding] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)
        self.findings = tuple(found)


class InvalidSpec(PipelineError):
    """The spec, or a file it names, is not what it must be; `findings` has every fault."""

    exit_code = Exit.INVALID


class Unverified(PipelineError):
    """Something does not match its digest or golden; `findings` has every mismatch."""

    exit_code = Exit.UNVERIFIED


class Unfit(PipelineError):
    """This machine lacks what the step needs: an environment, an engine, a driver."""

    exit_code = Exit.UNFIT


class Busy(PipelineError):
    """Another run holds the project, or a saved plan is stale."""

    exit_code = Exit.BUSY


class RolledBack(PipelineError):
    """A change failed after it had begun, and what was there before serves again."""

    exit_code = Exit.ROLLED_BACK


class Interrupted(PipelineError):
    """The user or the system asked to stop, and would not wait until everything was as before."""

    exit_code = Exit.INTERRUPTED
