"""From nothing to a server whose every version answers: in a container beside in a process, with the sample's models.

    python benchmarks/starting.py

Both are started by `python -m pipeline serve`, in turn, round by round, each in a copy of this project whose files are
laid out already; the ratio comes last. Build the samples first (`nox`), and the CPU image (`nox -s image`).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.edges import docker

HOME = Path(__file__).parent.parent
GOAL = 1.5
RUNTIMES = ("embedded", "docker")


def run(root: Path, *words: str) -> float:
    """Seconds that a command of the program takes in a project."""
    before = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(HOME)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - before


def prepare(root: Path, runtime: str) -> Path:
    """A copy of this project for a runtime, on ports of its own, with its repository laid out."""
    root.mkdir()
    text = (HOME / "pipeline.yaml").read_text(encoding="utf-8")
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for each in (one, two, three):
            each.bind(("127.0.0.1", 0))
        http, grpc, metrics = (each.getsockname()[1] for each in (one, two, three))
    image = f"  image: {docker.CPU}\n  runtime: {runtime}\n  gpus: none\n"
    ports = f"  ports: {{http: {http}, grpc: {grpc}, metrics: {metrics}}}\n"
    text = re.sub(r"(?ms)^target:\n.*?^\n", f"target:\n{image}{ports}\n", text, count=1)
    (root / "pipeline.yaml").write_text(text, encoding="utf-8")
    for name in ("pipeline.lock", "requirements", ".pipeline/store", ".pipeline/sources"):
        source, target = HOME / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        elif source.exists():
            shutil.copy(source, target)
    run(root, "export")
    run(root, "assemble")
    return root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    # The container's user is not ours: it must be able to look into the folder.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        places = {runtime: prepare(Path(folder, runtime), runtime) for runtime in RUNTIMES}
        found: dict[str, list[float]] = {runtime: [] for runtime in RUNTIMES}
        for number in range(rounds + 1):
            for runtime, place in places.items():
                took = run(place, "serve")
                run(place, "down")
                if number:  # the first warms the disk's cache, of both
                    found[runtime].append(took)
    for runtime, values in found.items():
        print(f"{runtime:9}", " ".join(f"{value:7.2f}" for value in values), "s")
    ratios = (box / process for box, process in zip(found["docker"], found["embedded"], strict=True))
    ratio = statistics.median(ratios)
    print(f"start to ready, in a container over in a process: ratio {ratio:.2f} (goal: at most {GOAL})")
    raise SystemExit(ratio > GOAL)


if __name__ == "__main__":
    main()
