"""Times a plan that finds nothing to do against `dvc status` on a pipeline of one stage, in turn.

Run it with `nox -s benchmarks -- plan`, on a tree where everything is up to date. The last line is the ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOAL = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    os.environ.pop("PIPELINE_TORCH_PYTHON", None)  # the users' own server is compared, not one of this environment
    plan = [str(interpreter()), "-m", "pipeline", "plan"]
    if "No changes." not in subprocess.run(plan, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False).stdout:
        print("the tree is not up to date: run nox first", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        status = one_stage(Path(folder))
        pairs = [(seconds(plan, ROOT), seconds(status, Path(folder))) for _ in range(rounds)]
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"pipeline plan  median {ours:.3f} s of {rounds}")
    print(f"dvc status     median {theirs:.3f} s of {rounds}")
    ratio = ours / theirs
    print(f"ratio {ratio:.2f} (goal: at most {GOAL})")
    return 0 if ratio <= GOAL else 1


def interpreter() -> Path:
    """The environment that users' plans run in, else this one."""
    core = ROOT / ".nox" / "core" / "bin" / "python"
    return core if core.exists() else Path(sys.executable)


def one_stage(folder: Path) -> list[str]:
    """Make a DVC project of one stage that is up to date, and return the command that says so."""
    made = ROOT / ".nox" / "benchmarks" / "bin" / "dvc"
    program = str(made) if made.exists() else "dvc"
    (folder / "in").write_text("a source\n")
    output([program, "init", "--no-scm"], folder)
    output([program, "stage", "add", "-n", "copy", "-d", "in", "-o", "out", "cp in out"], folder)
    output([program, "repro"], folder)
    assert "up to date" in output([program, "status"], folder)
    return [program, "status"]


def output(command: list[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def seconds(command: list[str], folder: Path) -> float:
    start = time.perf_counter()
    output(command, folder)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
