"""Embedded serving beside the same TorchScript in process: latency, throughput, two instances, time to be ready.

    python benchmarks/serving.py model_repository/minilm

Everything is measured in one run, in turn, round by round, and the ratios come last: on a shared machine only they
mean something. The goals are those of the README.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import spec
from pipeline.edges import embedded, record, triton

TOKENS = 128
CLIENTS = 16
LATENCY, THROUGHPUT, READY = 1.10, 1.20, 1.50
"""The goals: at most, at least and at most so many times what is measured in process."""

# The control: the same file, the same threads, the same tensors, no server. It runs when it gets a line.
CONTROL = """
import json, os, sys, time
import torch
path, threads, seed = sys.argv[1], int(sys.argv[2]), 0
torch.set_num_threads(threads)
torch.set_num_interop_threads(threads)
module = torch.jit.load(path)
shapes = json.loads(sys.argv[3])
generator = torch.Generator().manual_seed(0)
given = [torch.ones(1, size, dtype=torch.int32) if mask else
         torch.randint(1000, 2000, (1, size), generator=generator, dtype=torch.int32) for size, mask in shapes]
with torch.inference_mode():
    for _ in range(10):
        module(*given)
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            module(*given)
            times.append(time.perf_counter() - start)
        print(json.dumps(times), flush=True)
"""


class Control:
    """The in-process control, in a process of its own that waits while the server is measured."""

    def __init__(self, path: Path, inputs: list[str]) -> None:
        shapes = json.dumps([[TOKENS, "mask" in name] for name in inputs])
        words = [sys.executable, "-W", "ignore", "-c", CONTROL, str(path), str(cores()), shapes]
        self.child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None
        assert self.child.stdout.readline() == "ready\n"

    def times(self, count: int) -> list[float]:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(f"{count}\n")
        self.child.stdin.flush()
        found: list[float] = json.loads(self.child.stdout.readline())
        return found

    def close(self) -> None:
        self.child.kill()
        self.child.communicate()


class Asker:
    """One gRPC client with its question ready."""

    def __init__(self, port: int, model: str, inputs: list[str], output: str, seed: int = 0) -> None:
        from tritonclient import grpc  # noqa: PLC0415

        self.client = grpc.InferenceServerClient(f"127.0.0.1:{port}")
        self.model = model
        self.outputs = [grpc.InferRequestedOutput(output)]
        self.inputs = []
        random = np.random.default_rng(seed)
        for name in inputs:
            array = np.ones((1, TOKENS)) if "mask" in name else random.integers(1000, 2000, (1, TOKENS))
            value = grpc.InferInput(name, [1, TOKENS], "INT32")
            value.set_data_from_numpy(array.astype(np.int32))
            self.inputs.append(value)

    def ask(self) -> float:
        start = time.perf_counter()
        answer: Any = self.client.infer(self.model, self.inputs, outputs=self.outputs)
        assert answer.as_numpy(self.outputs[0].name()).shape[0] == 1
        return time.perf_counter() - start


def cores() -> int:
    import os  # noqa: PLC0415

    return len(os.sched_getaffinity(0))


def free_ports() -> spec.Ports:
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(3):
            each = stack.enter_context(socket.socket())
            each.bind(("127.0.0.1", 0))
            found.append(int(each.getsockname()[1]))
    return spec.Ports(http=found[0], grpc=found[1], metrics=found[2])


def start(root: Path, models: tuple[str, ...]) -> record.Running:
    launch = embedded.Launch(
        repository=root / "models",
        backends=root / "backends",
        python=Path(sys.executable),
        ports=free_ports(),
        models=models,
    )
    running = embedded.start(launch, run=root / "run", say=lambda _: None)
    while not embedded.answering(running):
        if not embedded.alive(running):
            raise SystemExit("\n".join(embedded.log(running)[-20:]))
        time.sleep(0.01)
    return running


@contextlib.contextmanager
def served(root: Path, *models: str) -> Iterator[record.Running]:
    running = start(root, models)
    try:
        yield running
    finally:
        embedded.kill(running)


def ready(root: Path, model: str, inputs: list[str], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds from the call that spawns to the first answer, and seconds that `import torch` takes, in turn."""
    tensors = [triton.Question(name=name, dtype="INT32", shape=(1, TOKENS)) for name in inputs]
    starts, imports = [], []
    for _ in range(rounds):
        before = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        imports.append(time.perf_counter() - before)
        before = time.perf_counter()
        with served(root, model) as running:
            triton.Client(port=running.ports.http, timeout=60).answers(model, 1, tensors)
            starts.append(time.perf_counter() - before)
    return starts, imports


def throughput(askers: list[Asker], seconds: float) -> float:
    """Answers a second with all clients asking at once."""
    end = time.perf_counter() + seconds

    def work(asker: Asker) -> int:
        count = 0
        while time.perf_counter() < end:
            asker.ask()
            count += 1
        return count

    before = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(len(askers)) as pool:
        total = sum(pool.map(work, askers))
    return total / (time.perf_counter() - before)


def prepare(folder: Path, root: Path) -> tuple[str, str]:
    """Copies the model, and a twin of it with two instances."""
    name, twin = folder.name, f"{folder.name}_two"
    for target in (name, twin):
        shutil.copytree(folder, root / "models" / target)
    config = (folder / "config.pbtxt").read_text(encoding="utf-8")
    two = config.replace(f'"{name}"', f'"{twin}"', 1) + "\ninstance_group { kind: KIND_CPU count: 2 }\n"
    (root / "models" / twin / "config.pbtxt").write_text(two, encoding="utf-8")
    return name, twin


def measure(root: Path, models: tuple[str, str], inputs: list[str], output: str, rounds: int) -> dict[str, list[float]]:
    """Every number of every round, in seconds and in answers a second."""
    found: dict[str, list[float]] = {key: [] for key in ("alone", "served", "rate one", "one", "rate two", "two")}
    control = Control(root / "models" / models[0] / "1" / "model.pt", inputs)
    try:
        with served(root, *models) as running:
            single = Asker(running.ports.grpc, models[0], inputs, output)
            many = {
                key: [Asker(running.ports.grpc, model, inputs, output, seed) for seed in range(CLIENTS)]
                for key, model in zip(("one", "two"), models, strict=True)
            }
            # TorchScript optimizes on its first runs, for each batch size that it meets.
            for askers in ([single] * 3, many["one"], many["two"]):
                throughput(askers[:CLIENTS], 4)
            for _ in range(rounds):
                # Short turns: what else runs on the machine then meets both alike.
                alone, asked = [], []
                for _ in range(20):
                    alone += control.times(5)
                    asked += [single.ask() for _ in range(5)]
                found["alone"].append(statistics.median(alone))
                found["served"].append(statistics.median(asked))
                for key, askers in many.items():
                    before = control.times(20)
                    answers = throughput(askers, 2)
                    alone = before + control.times(20)
                    found[f"rate {key}"].append(len(alone) / sum(alone))
                    found[key].append(answers)
    finally:
        control.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        default=Path("model_repository/minilm"),
        help="a model's folder in the repository, with INT32 inputs",
    )
    parser.add_argument("--inputs", nargs="+", default=["input_ids", "attention_mask"], help="in forward()'s order")
    parser.add_argument("--output", default="sentence_embedding")
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        models = prepare(asked.model.resolve(), root)
        with served(root):
            pass  # lays the backend directory out, once
        starts, imports = ready(root, models[0], asked.inputs, asked.rounds)
        found = measure(root, models, asked.inputs, asked.output, asked.rounds)
    for name, values in {"ready s": starts, "import torch s": imports, **found}.items():
        print(f"{name:15}", " ".join(f"{value:9.4f}" for value in values))

    def ratio(ups: list[float], downs: list[float]) -> float:
        return statistics.median(up / down for up, down in zip(ups, downs, strict=True))

    latency, rate = ratio(found["served"], found["alone"]), ratio(found["one"], found["rate one"])
    start = ratio(starts, imports)
    print(f"latency, served over in process      {latency:6.3f}   goal <= {LATENCY:.2f}")
    print(f"throughput, {CLIENTS} clients over in process {rate:6.3f}   goal >= {THROUGHPUT:.2f}")
    print(f"the same, two instances              {ratio(found['two'], found['rate two']):6.3f}")
    print(f"ready over import torch              {start:6.3f}   goal <= {READY:.2f}")
    raise SystemExit(latency > LATENCY or rate < THROUGHPUT or start > READY)


if __name__ == "__main__":
    main()
