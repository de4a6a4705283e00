"""The same weights in every format that a CPU serves: in process and served, latency, throughput and size.

    python benchmarks/formats.py

All are served by one Triton at once. Each is measured in turn with its own engine in process, with the same threads
and tensors: 128 tokens, batch 1, gRPC, one client; then sixteen clients. The ratios come last: on a shared machine only
they mean something.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import serving

ROOT = Path(__file__).parents[1]
NUMBERED = ["INPUT__0", "INPUT__1"]
NAMED = ["input_ids", "attention_mask"]
FORMATS = {
    "torchscript": (NAMED, "sentence_embedding", "model.pt"),
    "onnx": (NAMED, "sentence_embedding", "model.onnx"),
    "openvino": (NAMED, "sentence_embedding", "model.xml"),
    "aoti": (NUMBERED, "OUTPUT__0", "model.pt2"),
}
GOALS = {"onnx": 1.25, "openvino": 1.25}
"""How much longer than in process a served answer may take."""

# An engine by itself: the same file, threads and tensors, no server. It runs as often as each line says.
CONTROL = """
import json, sys, time
import numpy as np
kind, path, threads, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ids = np.random.default_rng(0).integers(1000, 2000, (1, tokens)).astype(np.int32)
mask = np.ones((1, tokens), np.int32)
if kind == "onnx":
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    run = lambda: session.run(None, {"input_ids": ids, "attention_mask": mask})
elif kind == "openvino":
    import openvino
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(path, "CPU", hints).create_infer_request()
    run = lambda: request.infer({"input_ids": ids, "attention_mask": mask}, share_inputs=True)
else:
    import torch
    torch.set_num_threads(threads)
    given = [torch.from_numpy(ids), torch.from_numpy(mask)]
    if kind == "aoti":
        from torch._inductor import aoti_load_package
        module = aoti_load_package(path)
    else:
        module = torch.jit.load(path)
    def run():
        with torch.inference_mode():
            return module(*given)
for _ in range(10):
    run()
print("ready", flush=True)
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(json.dumps(times), flush=True)
"""


class Control(serving.Control):
    """One format's engine in a process of its own, which waits while the server is measured."""

    def __init__(self, name: str, path: Path) -> None:
        words = [sys.executable, "-W", "ignore", "-c", CONTROL, name, str(path), str(serving.cores())]
        self.child = subprocess.Popen(
            [*words, str(serving.TOKENS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.child.stdout is not None
        assert self.child.stdout.readline() == "ready\n"


def build(root: Path) -> tuple[int, Path]:
    """The project, built, proven and served; its gRPC port and its repository."""
    ports = serving.free_ports()
    text = (Path(__file__).parent / "formats.yaml").read_text(encoding="utf-8")
    for word, port in (("HTTP", ports.http), ("GRPC", ports.grpc), ("METRICS", ports.metrics)):
        text = text.replace(word, str(port), 1)
    shutil.copytree(ROOT / "requirements", root / "requirements")
    (root / "pipeline.yaml").write_text(text, encoding="utf-8")
    command(root, "apply")
    return ports.grpc, root / "model_repository"


def command(root: Path, *words: str) -> None:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PIPELINE_TORCH_PYTHON": sys.executable}
    ended = subprocess.run([sys.executable, "-m", "pipeline", *words], cwd=root, env=variables, check=False)
    if ended.returncode:
        raise SystemExit(ended.returncode)


def measure(name: str, port: int, repository: Path, rounds: int) -> dict[str, float]:
    """Medians of one format: seconds in process and served, and answers a second of both."""
    inputs, output, filename = FORMATS[name]
    control = Control(name, repository / name / "1" / filename)
    askers = [serving.Asker(port, name, inputs, output, seed) for seed in range(serving.CLIENTS)]
    found: dict[str, list[float]] = {key: [] for key in ("alone", "served", "rate")}
    try:
        serving.throughput(askers[:1] * 3, 3)
        serving.throughput(askers, 4)
        for _ in range(rounds):
            alone: list[float] = []
            asked: list[float] = []
            for _ in range(20):  # short turns: what else runs on the machine then meets both alike
                alone += control.times(5)
                asked += [askers[0].ask() for _ in range(5)]
            found["alone"].append(statistics.median(alone))
            found["served"].append(statistics.median(asked))
            found["rate"].append(serving.throughput(askers, 2))
    finally:
        control.close()
    ratios = [served / alone for served, alone in zip(found["served"], found["alone"], strict=True)]
    rates = [rate * alone for rate, alone in zip(found["rate"], found["alone"], strict=True)]
    medians = {key: statistics.median(values) for key, values in found.items()}
    return medians | {"latency": statistics.median(ratios), "throughput": statistics.median(rates)}


def size(folder: Path) -> float:
    """Megabytes of a version."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def table(found: dict[str, dict[str, float]], repository: Path) -> str:
    """The README's table."""
    rows = [
        "| format | artifact MB | in process ms | served ms | ratio | 16 clients, answers/s | over in process |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, numbers in found.items():
        rows.append(
            f"| {name} | {size(repository / name / '1'):.1f} | {numbers['alone'] * 1000:.1f} | "
            f"{numbers['served'] * 1000:.1f} | {numbers['latency']:.2f} | {numbers['rate']:.0f} | "
            f"{numbers['throughput']:.2f} |"
        )
    return "\n".join(rows)


def machine() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return f"{serving.cores()} cores of {names[0] if names else platform.machine()}, {time.strftime('%Y-%m-%d')}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        port, repository = build(root)
        try:
            found = {name: measure(name, port, repository, asked.rounds) for name in FORMATS}
        finally:
            command(root, "down")
        print(machine())
        print(table(found, repository))
    for name, goal in GOALS.items():
        print(f"{name}: latency, served over in process {found[name]['latency']:6.3f}   goal <= {goal:.2f}")
    return int(any(found[name]["latency"] > goal for name, goal in GOALS.items()))


if __name__ == "__main__":
    sys.exit(main())
