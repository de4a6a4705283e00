"""Times a plan of 100 and of 1,000 models in sync against `dvc status` and `dvc repro` on as many stages, in turn.

Run it with `nox -s benchmarks -- planning`. The projects are made here, without torch and without a server: a plan
shows that the server does not run, and nothing else. The last lines are the ratios.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tests import many

ROOT = Path(__file__).parents[1]
START, FEW, MANY = 2, 100, 1000  # two models have one source of each kind: what they cost is the start
GOAL = 1.5  # seconds for a plan of MANY
SHARE = 0.1  # of that a plan of FEW may take, beside the start
SYNCED = "Plan: 1 to add, 0 to change, 0 to remove."  # the server

Times = dict[str, list[float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        times = measure(Path(folder), rounds)
    for name, found in times.items():
        print(f"{name:<22} median {statistics.median(found):6.3f} s of {rounds}")
    return judge({name: statistics.median(found) for name, found in times.items()})


def measure(folder: Path, rounds: int) -> Times:
    """The seconds of each command on each project, every round one of each."""
    commands: dict[str, tuple[list[str], Path]] = {}
    for count in (START, FEW, MANY):
        ours, theirs = folder / f"models-{count}", folder / f"stages-{count}"
        print(f"making a project of {count}", flush=True)
        many.make(ours, count)
        commands[f"plan {count}"] = ([str(interpreter()), "-m", "pipeline", "plan"], ours)
        assert SYNCED in output(*commands[f"plan {count}"])
        if count != START:
            make_stages(theirs, count)
            for word in ("status", "repro"):
                commands[f"dvc {word} {count}"] = ([dvc(), word], theirs)
                assert "up to date" in output(*commands[f"dvc {word} {count}"])
    times: Times = {name: [] for name in commands}
    for _ in range(rounds):
        for name, (command, place) in commands.items():
            start = time.perf_counter()
            output(command, place)
            times[name].append(time.perf_counter() - start)
    return times


def make_stages(folder: Path, count: int) -> None:
    """A DVC project of `count` stages that are up to date.

    The lock is written here: `dvc repro` of a thousand new stages takes more than ten minutes. The outputs stay out
    of DVC's cache, which is less for it to look at.
    """
    stages, locked = {}, {}
    for number in range(count):
        taken, given = f"in{number:04d}", f"out{number:04d}"
        data = f"source {number}\n".encode() * 20
        folder.mkdir(exist_ok=True)
        (folder / taken).write_bytes(data)
        (folder / given).write_bytes(data)
        about = {"hash": "md5", "md5": hashlib.md5(data).hexdigest(), "size": len(data)}
        command = f"cp {taken} {given}"
        stages[f"copy{number}"] = {"cmd": command, "deps": [taken], "outs": [{given: {"cache": False}}]}
        locked[f"copy{number}"] = {
            "cmd": command,
            "deps": [{"path": taken, **about}],
            "outs": [{"path": given, **about}],
        }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": locked}))
    output([dvc(), "init", "--no-scm", "--quiet"], folder)


def judge(median: dict[str, float]) -> int:
    """Prints the ratios; 1 where a goal is missed."""
    for count in (FEW, MANY):
        for word in ("status", "repro"):
            ratio = median[f"plan {count}"] / median[f"dvc {word} {count}"]
            print(f"plan {count} / dvc {word} {count}: {ratio:.2f}")
    few, most = median[f"plan {FEW}"] - median[f"plan {START}"], SHARE * median[f"plan {MANY}"]
    print(f"plan {FEW} without its start: {few:.3f} s (goal: at most {most:.3f} s, {SHARE:g} of plan {MANY})")
    print(f"plan {MANY}: {median[f'plan {MANY}']:.3f} s (goal: at most {GOAL} s)")
    return 0 if few <= most and median[f"plan {MANY}"] <= GOAL else 1


def interpreter() -> Path:
    """The environment that users' plans run in, else this one."""
    core = ROOT / ".nox" / "core" / "bin" / "python"
    return core if core.exists() else Path(sys.executable)


def dvc() -> str:
    """The program of the benchmarks' environment, else the one on the path."""
    made = ROOT / ".nox" / "benchmarks" / "bin" / "dvc"
    return str(made) if made.exists() else "dvc"


def output(command: list[str], folder: Path) -> str:
    """What a command prints; 2 is the exit code of a plan with changes."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode in {0, 2}, ended.stderr
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
