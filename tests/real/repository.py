"""Writes model repositories for the tests against a real Triton, and finds free ports."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from pipeline.core import spec
from pipeline.edges import embedded, record, triton

Tensors = Sequence[tuple[str, str, Sequence[int]]]


def free_ports() -> spec.Ports:
    """Three ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(3)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    http, grpc, metrics = (int(each.getsockname()[1]) for each in sockets)
    for each in sockets:
        each.close()
    return spec.Ports(http=http, grpc=grpc, metrics=metrics)


def config(
    name: str,
    inputs: Tensors,
    outputs: Tensors,
    *,
    batch: int = 8,
    parameters: Mapping[str, str] | None = None,
    more: str = "",
    platform: str = 'backend: "pytorch"',
) -> str:
    """The text of a config.pbtxt; `more` is appended as it is."""
    lines = [f'name: "{name}"', platform, f"max_batch_size: {batch}"]
    for side, tensors in (("input", inputs), ("output", outputs)):
        for tensor, dtype, dims in tensors:
            extra = "optional: true" if dtype.endswith("?") else ""
            dtype = dtype.rstrip("?")  # noqa: PLW2901
            lines.append(f'{side} {{ name: "{tensor}" data_type: TYPE_{dtype} dims: {list(dims)} {extra} }}')
    for key, value in (parameters or {}).items():
        lines.append(f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}')
    return "\n".join([*lines, more]) + "\n"


def write(repository: Path, name: str, module: torch.nn.Module, text: str, *, file: str = "1/model.pt") -> None:
    """One model of the repository: its config and its scripted module."""
    torch.jit.script(module).save(str(place(repository, name, text, file)))


def place(repository: Path, name: str, text: str, file: str) -> Path:
    """Where a model's file belongs, with its config written already."""
    path = repository / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    (repository / name / "config.pbtxt").write_text(text, encoding="utf-8")
    return path


@contextlib.contextmanager
def serving(root: Path) -> Iterator[record.Running]:
    """A Triton on `root/models`, without models: they are loaded into it one by one."""
    (root / "models").mkdir()
    launch = embedded.Launch(
        repository=root / "models",
        backends=root / "backends",
        python=Path(sys.executable),
        ports=free_ports(),
        models=(),
    )
    running = embedded.start(launch, run=root / "run", say=print)
    try:
        client = triton.Client(port=running.ports.http, timeout=60)
        while not client.live():
            assert embedded.alive(running), embedded.log(running)[-20:]
        yield running
    finally:
        embedded.kill(running)
