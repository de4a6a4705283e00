"""One Triton for all tests of a module; models are loaded into it one by one."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy.typing as npt

from pipeline.edges import inference, record, triton
from tests.real import repository


class Server:
    """A running Triton and its repository. `platform` and `file` are what its models' configs and files are."""

    def __init__(self, running: record.Running, models: Path, *, platform: str, file: str) -> None:
        self.running, self.models = running, models
        self.platform, self.file = platform, file
        self.client = triton.Client(port=running.ports.http, timeout=60)
        self.count = itertools.count()
        self.last = ""

    def load(self, what: Any, inputs: Any, outputs: Any, *, file: str | None = None, **more: Any) -> str:
        """Loads a fresh model of this config, whose file `what` writes, and gives its name. Raises PipelineError with
        the refusal."""
        self.last = name = f"m{next(self.count)}"
        text = repository.config(name, inputs, outputs, **{"platform": self.platform, **more})
        what(repository.place(self.models, name, text, file or self.file))
        self.client.load(name, timeout=60)
        return name

    def ask(self, name: str, outputs: tuple[str, ...], **inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """The answer over HTTP."""
        return inference.infer("http", self.running.ports.http, name, 1, inputs=inputs, outputs=outputs)

    def said(self) -> str:
        """The server's log."""
        return self.running.log.read_text(encoding="utf-8")
