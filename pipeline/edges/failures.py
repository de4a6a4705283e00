"""A folder for each answer that was not the golden one, with all that is needed to ask again without the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.core import report, rounds, spec
from pipeline.edges import files, folders

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[Any]]

_REPEAT = '''"""Asks Triton once more what {model} version {version} answered otherwise than its golden.

Needs tritonclient[{protocol}], numpy and safetensors: python repeat.py [HOST:PORT]
"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.{protocol} as triton
from safetensors.numpy import load_file
from tritonclient.utils import np_to_triton_dtype

here = Path(__file__).resolve().parent
inputs, expected = load_file(here / "inputs.safetensors"), load_file(here / "expected.safetensors")
for name, part in (("inputs", inputs), ("expected", expected)):
    texts = json.loads((here / f"{{name}}.json").read_text())
    part.update({{key: np.array(rows, dtype=object) for key, rows in texts.items()}})
client = triton.InferenceServerClient(sys.argv[1] if len(sys.argv) > 1 else "{address}:{port}")
asked = []
for name, array in inputs.items():
    asked.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
    asked[-1].set_data_from_numpy(array)
tolerances = {tolerances}
for count in range({times}):  # a model that is wrong now and then is asked until it is wrong again
    answer = client.infer("{model}", asked, model_version="{version}")
    wrong, lines = 0, []
    for name, wanted in expected.items():
        got = answer.as_numpy(name)
        about = None if got is None else (got.dtype, got.shape)
        lines.append(f"{{name}} expected {{wanted.dtype, wanted.shape}} got {{about}}")
        if got is None or got.shape != wanted.shape or got.dtype != wanted.dtype:
            wrong += 1
            continue
        if wanted.dtype == object:
            good = [text.decode("utf-8", "backslashreplace") for text in got.ravel()] == list(wanted.ravel())
            wrong += not good
            lines.append(f"  {{'agrees' if good else 'does not agree'}}")
            continue
        error = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
        rtol, atol = tolerances[name]
        good = np.all(error <= atol + rtol * np.abs(wanted.astype(np.float64)))
        wrong += not good
        lines.append(f"  largest error {{error.max(initial=0.0)}} {{'agrees' if good else 'does not agree'}}")
    if wrong:
        break
print(f"answer {{count + 1}} of {times}:", *lines, sep="\\n")
sys.exit(1 if wrong else 0)
'''


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked and answered; `got` is empty where there was no answer."""

    address: str
    port: int
    tolerances: dict[str, spec.Tolerance]
    inputs: Any
    expected: Any
    got: Any


def place(parent: Path, case: report.Case) -> Path:
    """The folder of one case."""
    return parent / f"{case.model}-{case.version}-{case.protocol}-b{case.batch}"


def clear(parent: Path, case: report.Case) -> None:
    """Removes what an earlier verification left of this case. Raises PipelineError."""
    folders.remove(place(parent, case))


def keep(parent: Path, case: report.Case, asked: Asked) -> None:
    """Writes the folder: tensors as safetensors, those of texts as JSON, `report.json`, and `repeat.py`. Raises
    PipelineError.
    """
    target = place(parent, case)
    script = _REPEAT.format(
        model=case.model,
        version=case.version,
        protocol=case.protocol,
        address=asked.address,
        port=asked.port,
        times=1 if case.repeats == 1 else rounds.QUESTIONS,
        tolerances={name: (limit.rtol, limit.atol) for name, limit in asked.tolerances.items()},
    )
    with folders.stage(parent) as aside:
        for name, arrays in (("inputs", asked.inputs), ("expected", asked.expected), ("got", asked.got)):
            files.write(aside / f"{name}.safetensors", _pack(arrays))
            files.write(aside / f"{name}.json", msgspec.json.format(msgspec.json.encode(_texts(arrays)), indent=2))
        files.write(aside / "repeat.py", script.encode())
        files.write(aside / "report.json", msgspec.json.format(msgspec.json.encode(case), indent=2) + b"\n")
        folders.remove(target)
        folders.publish(aside, target)


def _pack(arrays: Arrays) -> bytes:
    import numpy as np  # noqa: PLC0415 - a command that compares nothing does not pay for it
    from safetensors.numpy import save  # noqa: PLC0415

    packed: bytes = save({name: np.ascontiguousarray(array) for name, array in arrays.items() if array.dtype != object})
    return packed


def _texts(arrays: Arrays) -> dict[str, Any]:
    """The tensors of texts, as nested lists; bytes that are no UTF-8 are escaped."""
    import numpy as np  # noqa: PLC0415

    read = np.frompyfunc(lambda text: text.decode("utf-8", "backslashreplace"), 1, 1)
    return {name: read(array).tolist() for name, array in arrays.items() if array.dtype == object}
