"""Orders for the export process, and the process run as a stage runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import safe_open

from pipeline.core import allowance, build, spec
from pipeline.edges import exporters, process, sources
from pipeline.edges.sources import request

BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "vocab_size": 120, "max_position_embeddings": 64}  # fmt: skip
LIMITS = allowance.Limits()
CONFIG = spec.Source(config=spec.ConfigSource(architecture="BertForSequenceClassification", options=BERT))


def tensor(shape: list[int | str], argument: str | None = None, dtype: spec.Dtype = "INT32") -> spec.Input:
    """A declared input."""
    return spec.Input(dtype=dtype, shape=tuple(shape), argument=argument)


def answer(shape: list[int | str], result: str | None = None, **more: Any) -> spec.Output:
    """A declared FP32 output."""
    return spec.Output(dtype="FP32", shape=tuple(shape), result=result, **more)


TOKENS = {"input__0": tensor(["batch", "sequence"], "input_ids"),
          "input__1": tensor(["batch", "sequence"], "attention_mask")}  # fmt: skip


def order(source: spec.Source, root: Path, **more: Any) -> build.Build:
    """A build of the source; by default one FP32 input and output of [batch, 4], traced."""
    resolved = sources.resolve(
        source, root=root, cache=root / "cache", locked=None, online=False, digest_file=request.sha256_of
    )
    fields: dict[str, Any] = {
        "model": "m", "version": 1, "source": resolved, "export": spec.Export(method="trace"), "max_batch_size": 4,
        "inputs": {"x": tensor(["batch", 4], dtype="FP32")}, "outputs": {"y": answer(["batch", 4])}, "axes": {},
        "golden": spec.Golden(), "batches": (1, 2, 4), "tokenizer": None, "toolchain": {}, "exporter": 1, **more,
    }  # fmt: skip
    return build.Build(**fields)


def export(
    made: build.Build, root: Path, out: Path, *, timeout: float = 300, limits: allowance.Limits = LIMITS, **env: str
) -> exporters.Result:
    """Run the process as a stage does."""
    out.mkdir(parents=True)
    fetched = sources.fetch(made.source, root=root, cache=root / "cache", say=lambda _: None)
    job = exporters.Job(build=made, root=str(root), source=str(fetched) if fetched else None)
    (out.parent / f"{out.name}.json").write_bytes(msgspec.json.encode(job))
    finished = process.run(
        [*exporters.command(Path(sys.executable)), str(out.parent / f"{out.name}.json"), str(out)],
        cwd=root, env={**exporters.environment(), **env}, timeout=timeout, limits=limits, folders=(out,),
    )  # fmt: skip
    what = {
        "what": "m version 1",
        "code": finished.code,
        "reason": finished.reason,
        "tail": finished.tail,
        "hit": finished.hit,
    }
    return exporters.read(out, **what)  # type: ignore[arg-type]


def factory(root: Path, body: str) -> spec.Source:
    """A factory whose module's forward is `body`, with x: [batch, 4]."""
    code = f"import torch\n\nclass Net(torch.nn.Module):\n    def forward(self, x):\n{body}\n\n"
    code += "def build():\n    return Net()\n"
    (root / "net.py").write_text(code)
    return spec.Source(factory="net:build")


def golden(out: Path) -> tuple[dict[str, np.ndarray[Any, Any]], Any]:
    """The tensors of a golden file, and what its metadata says."""
    with safe_open(str(out / "golden.safetensors"), "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["pipeline"])  # noqa: SIM118
