"""The models that the project makes itself around another's source: `tokenizer` turns texts into tokens, `labels` turns
logits into names. Each is a folder for Triton's Python backend that needs numpy and nothing else of an image.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import build, errors

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[Any]]
    Runner = Callable[[Arrays], dict[str, npt.NDArray[Any]]]

ARCHIVE = "model.py"
SETTINGS = "settings.json"
TOKENIZER = "tokenizer.json"
_FILES = Path(__file__).resolve().parents[2] / "triton_models"
_NUMPY = {"INT32": "int32", "INT64": "int64", "FP16": "float16", "FP32": "float32", "FP64": "float64"}


def tokenizer_eager(source: Any, made: build.Build) -> Runner:  # noqa: ANN401 - the source's folder, as exporters get it
    """The source's own tokenizer, asked as transformers asks it."""
    import numpy as np  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    _tokenizer_json(source)
    known = transformers.PreTrainedTokenizerFast(tokenizer_file=str(source / TOKENIZER))
    pad = _pad(source)
    known.pad_token = pad["token"]
    least, most = _sizes(made)
    name = next(iter(made.inputs))

    def run(inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        texts = [text.decode() for text in inputs[name].ravel()]
        limits = {"truncation": True, "max_length": most} if most else {}
        found = known(texts, padding=True, return_token_type_ids=True, **limits)
        arrays = {field: np.array(found[field]) for field in ("input_ids", "attention_mask", "token_type_ids")}
        short = least - arrays["input_ids"].shape[1]
        if short > 0:
            fill = {"input_ids": pad["id"]}
            arrays = {
                field: np.pad(array, ((0, 0), (0, short)), constant_values=fill.get(field, 0))
                for field, array in arrays.items()
            }
        return {key: arrays[field].astype(dtype) for key, (field, dtype) in _outputs(made).items()}

    return run


def tokenizer_export(source: Any, example: Arrays, made: build.Build, folder: Path) -> None:  # noqa: ANN401, ARG001
    """Writes the model, its tokenizer, and the library that reads it."""
    import tokenizers  # noqa: PLC0415

    shutil.copyfile(_FILES / "tokenizer.py", folder / ARCHIVE)
    (folder / TOKENIZER).write_bytes(_tokenizer_json(source))
    library = Path(tokenizers.__file__).parent
    shutil.copytree(library, folder / library.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyi", "tools"))
    least, most = _sizes(made)
    _write(folder, {"least": least, "most": most, "pad": _pad(source)}, made)


def tokenizer_load(path: Path, made: build.Build) -> Runner:
    """The model as Triton runs it."""
    module = _module(path)
    encoder, name = module.Encoder(path.parent), next(iter(made.inputs))
    return lambda inputs: dict(encoder.encode([text.decode() for text in inputs[name].ravel()]))


def labels_eager(source: Any, made: build.Build) -> Runner:  # noqa: ANN401
    """The largest logit's label, by torch's own softmax."""
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    labels = _labels(source, made)
    name = next(iter(made.inputs))

    def run(inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        score, place = torch.softmax(torch.from_numpy(inputs[name]).double(), dim=-1).max(dim=-1, keepdim=True)
        names = np.array([labels[int(each)].encode() for each in place.flatten()], dtype=np.object_)
        found = {"label": names.reshape(tuple(place.shape)), "score": score.numpy()}
        outputs = _outputs(made).items()
        return {
            key: found[field] if field == "label" else found[field].astype(dtype) for key, (field, dtype) in outputs
        }

    return run


def labels_export(source: Any, example: Arrays, made: build.Build, folder: Path) -> None:  # noqa: ANN401, ARG001
    """Writes the model and its labels."""
    shutil.copyfile(_FILES / "labels.py", folder / ARCHIVE)
    _write(folder, {"labels": _labels(source, made)}, made)


def labels_load(path: Path, made: build.Build) -> Runner:
    """The model as Triton runs it."""
    module = _module(path)
    labels, name = module.Labels(path.parent), next(iter(made.inputs))
    return lambda inputs: dict(labels.name(inputs[name]))


def _write(folder: Path, more: Mapping[str, Any], made: build.Build) -> None:
    settings = {"input": next(iter(made.inputs)), "outputs": _outputs(made), **more}
    text = json.dumps(settings, ensure_ascii=False, indent=1, sort_keys=True)
    (folder / SETTINGS).write_text(text + "\n", encoding="utf-8")


def _outputs(made: build.Build) -> dict[str, tuple[str, str]]:
    """What each output is, and its type in numpy."""
    return {
        name: (str(output.result if output.result is not None else name), _NUMPY.get(output.dtype, "object"))
        for name, output in made.outputs.items()
    }


def _sizes(made: build.Build) -> tuple[int, int | None]:
    """How few and how many tokens a row may have, by the outputs' last axis."""
    size = next(iter(made.outputs.values())).shape[-1]
    if isinstance(size, int):
        return size, size
    bounds = made.axes.get(size)
    return (bounds.min, bounds.max) if bounds else (1, None)


def _tokenizer_json(source: Path) -> bytes:
    try:
        return (source / TOKENIZER).read_bytes()
    except OSError as error:
        msg = f"the source has no {TOKENIZER}"
        raise errors.PipelineError(msg, hint="Name a source that a fast tokenizer was saved with.") from error


def _pad(source: Path) -> dict[str, Any]:
    """The token that fills a row up, as goldens fill up theirs."""
    import tokenizers  # noqa: PLC0415

    encoder = tokenizers.Tokenizer.from_str(_tokenizer_json(source).decode())
    token = next((each for each in ("[PAD]", "<pad>") if encoder.token_to_id(each) is not None), None)
    return {"token": token or "[PAD]", "id": encoder.token_to_id(token) if token else 0}


def _labels(source: Path | None, made: build.Build) -> list[str]:
    """The source's labels in the order of their logits. Raises errors.PipelineError where it has none for each."""
    if source is None:
        options = made.source.identity.get("options", {})
    else:
        options = json.loads((source / "config.json").read_text(encoding="utf-8"))
    size = next(iter(made.inputs.values())).shape[-1]
    named = options.get("id2label") or {str(place): f"LABEL_{place}" for place in range(options.get("num_labels", 2))}
    found = [named.get(str(place), named.get(place)) for place in range(len(named))]
    if None in found or (isinstance(size, int) and size != len(found)):
        msg = f"the source has the labels {sorted(map(str, named.values()))[:8]}, and the input has {size} logits"
        raise errors.PipelineError(msg, hint="Declare an input whose last axis has a size for each label.")
    return [str(each) for each in found]


def _module(path: Path) -> Any:  # noqa: ANN401 - a file of its own
    spec = importlib.util.spec_from_file_location(f"made_{path.parent.name}", path)
    assert spec is not None and spec.loader is not None  # noqa: PT018, S101 - it is a file of Python
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True  # it would lie in the artifact, with the time in it
    spec.loader.exec_module(module)
    return module
