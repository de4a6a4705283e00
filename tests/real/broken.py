"""Artifacts that no export lets through, put into the store behind its back: only a proof can tell what they are."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import torch

from pipeline.core import build
from tests import faults

ARTIFACT = "model.pt"


class Broken(torch.nn.Module):  # type: ignore[misc]
    """Answers as the good artifact does; each fault changes one thing."""

    def __init__(self, good: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.good = good

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.good(left, right)


class OtherType(Broken):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.good(left, right).double()


class OtherShape(Broken):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.good(left, right), left], 1)


class NotANumber(Broken):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.good(left, right) * float("nan")


class OffByALittle(Broken):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.good(left, right) + 0.01


class NowAndThen(Broken):
    """Each twentieth answer is wrong."""

    def __init__(self, good: torch.jit.ScriptModule) -> None:
        super().__init__(good)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return self.good(left, right) + (self.count % 20 == 0).float()


class StuckAtGoldens(Broken):
    """Answers a question of ones, as the check after a load asks it, and no other."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        count = 0
        while bool((left != 1).any()):
            count = (count + 1) % 7
        return self.good(left, right)


class StuckAtAnyQuestion(Broken):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        count = 0
        while left.numel() > 0:
            count = (count + 1) % 7
        return self.good(left, right)


class CrashesAtGoldens(Broken):
    """Its process is killed by the kernel: an element far outside the tensor is written."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        answer = self.good(left, right)
        if bool((left != 1).any()):
            far = torch.ops.aten._sparse_coo_tensor_unsafe(torch.tensor([[1 << 45]]), torch.ones(1), [2])
            answer = answer + far.to_dense()
        return answer


class StuckAtLoad(torch.nn.Module):  # type: ignore[misc]
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left - right

    @torch.jit.export  # type: ignore[untyped-decorator]
    def __getstate__(self) -> tuple[int, bool]:
        return 1, self.training

    @torch.jit.export  # type: ignore[untyped-decorator]
    def __setstate__(self, state: tuple[int, bool]) -> None:
        self.training = state[1]
        count = state[0]
        while count >= 0:
            count = (count + 1) % 7


class CrashesAtLoad(torch.nn.Module):  # type: ignore[misc]
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left - right

    @torch.jit.export  # type: ignore[untyped-decorator]
    def __getstate__(self) -> tuple[int, bool]:
        return 1, self.training

    @torch.jit.export  # type: ignore[untyped-decorator]
    def __setstate__(self, state: tuple[int, bool]) -> None:
        self.training = state[1]
        far = torch.ops.aten._sparse_coo_tensor_unsafe(torch.tensor([[1 << 45]]), torch.ones(1), [2])
        if float(far.to_dense().sum()) > 1:
            self.training = True


def module(kind: type[torch.nn.Module]) -> Callable[[Path], None]:
    """A fault: this module in the artifact's place."""

    def break_it(entry: Path) -> None:
        path = entry / ARTIFACT
        made = kind(torch.jit.load(path)) if issubclass(kind, Broken) else kind()
        torch.jit.script(made).save(str(path))

    return break_it


def remove(entry: Path) -> None:
    """A fault: the artifact is not there."""
    (entry / ARTIFACT).unlink()


def rename(entry: Path) -> None:
    """A fault: the artifact has a name that Triton does not look for."""
    (entry / ARTIFACT).rename(entry / "other.pt")


def cut(entry: Path) -> None:
    """A fault: the second half is missing."""
    data = (entry / ARTIFACT).read_bytes()
    (entry / ARTIFACT).write_bytes(data[: len(data) // 2])


@contextlib.contextmanager
def planted(entry: Path, break_it: Callable[[Path], None], aside: Path) -> Iterator[None]:
    """A store entry with a fault that its manifest does not tell; at the end it is as it was."""
    shutil.copytree(entry, aside)
    try:
        for path in [entry, *entry.rglob("*")]:
            path.chmod(0o755)
        break_it(entry)
        _agree(entry)
        yield
    finally:
        faults.discard(entry)
        shutil.copytree(aside, entry)


def _agree(entry: Path) -> None:
    """Makes the manifest say what is there."""
    manifest = entry / "manifest.json"
    found = {
        path.name: build.File(sha256=hashlib.sha256(path.read_bytes()).hexdigest(), size=path.stat().st_size)
        for path in entry.iterdir()
        if path.name not in {"manifest.json", "golden.safetensors"}
    }
    built = msgspec.json.decode(manifest.read_bytes(), type=build.Built)
    manifest.write_bytes(build.canonical(msgspec.structs.replace(built, files=found)))
