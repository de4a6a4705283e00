"""The edges: each module touches one outside thing (files, a process, Triton) and knows no other edge.

What they share stands here: where a project's files lie, and how an edge tells a person what it is doing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

Say = Callable[[str], None]
"""Tells the user one line of progress."""


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything of one project lies. `spec` is the absolute path of its pipeline.yaml."""

    spec: Path

    @property
    def root(self) -> Path:
        """The folder of the spec: paths in the spec are relative to it."""
        return self.spec.parent

    @property
    def lock(self) -> Path:
        """The lock, which is committed."""
        return self.root / "pipeline.lock"

    @property
    def signature(self) -> Path:
        """The signature over the model repository, which is committed."""
        return self.root / "model_repository.sig"

    @property
    def repository(self) -> Path:
        """Triton's model repository: output only."""
        return self.root / "model_repository"

    @property
    def state(self) -> Path:
        """Everything derived that is not committed."""
        return self.root / ".pipeline"

    @property
    def store(self) -> Path:
        """The content-addressed artifacts."""
        return self.state / "store"

    @property
    def releases(self) -> Path:
        """The releases that are kept, and the history."""
        return self.state / "releases"

    @property
    def sources(self) -> Path:
        """Fetched sources, by digest."""
        return self.state / "sources"

    @property
    def candidate(self) -> Path:
        """Where changed models are proven in a server of their own, while a run does that."""
        return self.state / "candidate"

    @property
    def images(self) -> Path:
        """What images have told of themselves, by their ids."""
        return self.state / "images"

    @property
    def run(self) -> Path:
        """The running server's record and logs."""
        return self.state / "run"
