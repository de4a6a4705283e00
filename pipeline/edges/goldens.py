"""Goldens on disk, and the inputs they are made of: texts as token ids, or numbers drawn from a seed.

The file is `golden.safetensors`: tensors `<batch>/input/<name>` and `<batch>/output/<name>` in the declared types, and
one metadata key `pipeline` with {"format": 1, "texts": {"<batch>": [...]}} as canonical JSON. A tensor of texts, of
which safetensors knows nothing, is one of bytes with an axis more, named under `strings` there: each text stands behind
its length in four bytes, filled up with zeros. The answers come from elsewhere. numpy, tokenizers and safetensors are
imported inside functions.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import build, errors, spec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Arrays = dict[str, npt.NDArray[Any]]

FILE = "golden.safetensors"
FORMAT = 1
_HEADER = 8  # bytes: the length of safetensors' header
_LENGTH = 4  # bytes: the length of a text, as Triton packs texts too
TOKENIZED = ("input_ids", "attention_mask", "token_type_ids")
MIDDLE = 8
"""The size of a named axis in random inputs, within the axis's bounds."""
NUMPY = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "STRING": "object",
}


def texts(made: build.Build, batch: int) -> tuple[str, ...]:
    """The texts of a batch: the declared ones in turn, until it is full; none where inputs are random."""
    declared = made.golden.texts
    return tuple(declared[row % len(declared)] for row in range(batch)) if declared else ()


def axes(made: build.Build) -> tuple[str, ...]:
    """The named axes of the inputs, without the batch axis, sorted."""
    named = {size for tensor in made.inputs.values() for size in tensor.shape if isinstance(size, str)}
    return tuple(sorted(named - {spec.BATCH} if made.max_batch_size else named))


def inputs(made: build.Build, batch: int, *, sizes: Mapping[str, int], tokenizer: Path | None) -> Arrays:
    """Every declared input for one batch, each different from every other.

    `sizes` fixes named axes; another one is as long as the longest text needs, or MIDDLE. `tokenizer` is the folder
    with tokenizer.json. Raises errors.PipelineError when texts cannot be turned into the declared inputs.
    """
    words = _tokens(made, batch, sizes, tokenizer) if made.golden.texts and not _takes_texts(made) else {}
    chosen = {**{axis: _middle(made, axis) for axis in axes(made)}, **sizes, spec.BATCH: batch}
    for name, values in words.items():
        chosen |= {axis: length for axis, length in zip(made.inputs[name].shape, values.shape, strict=True)
                   if isinstance(axis, str)}  # fmt: skip
    return {name: words[name] if name in words else _drawn(made, name, batch, chosen) for name in made.inputs}


def save(path: Path, cases: Mapping[int, tuple[Arrays, Arrays]], made: build.Build) -> None:
    """Write the golden file; equal goldens give equal bytes."""
    import numpy as np  # noqa: PLC0415
    from safetensors.numpy import save_file  # noqa: PLC0415

    tensors: Arrays = {}
    for batch, (given, answers) in cases.items():
        for kind, arrays in (("input", given), ("output", answers)):
            tensors |= {f"{batch}/{kind}/{name}": np.ascontiguousarray(array) for name, array in arrays.items()}
    words = {str(batch): texts(made, batch) for batch in cases if made.golden.texts}
    strings = sorted(name for name, array in tensors.items() if array.dtype == object)
    tensors |= {name: strings_as_bytes(tensors[name]) for name in strings}
    about = {"format": FORMAT, "texts": words, **({"strings": strings} if strings else {})}
    save_file(tensors, str(path), metadata={"pipeline": build.canonical(about).decode()})


def strings_as_bytes(array: Array) -> Array:
    """Texts (bytes objects) as bytes with an axis more: each behind its length, filled up to the longest."""
    import numpy as np  # noqa: PLC0415

    packed = [len(text).to_bytes(_LENGTH, "little") + text for text in array.ravel()]
    width = max(map(len, packed), default=_LENGTH)
    whole = b"".join(text.ljust(width, b"\0") for text in packed)
    return np.frombuffer(whole, np.uint8).reshape(*array.shape, width)


def bytes_as_strings(array: Array) -> Array:
    """The texts back."""
    import numpy as np  # noqa: PLC0415

    rows = [row.tobytes() for row in array.reshape(-1, array.shape[-1])]
    texts_of = [row[_LENGTH : _LENGTH + int.from_bytes(row[:_LENGTH], "little")] for row in rows]
    found = np.empty(len(rows), dtype=np.object_)
    found[:] = texts_of
    return found.reshape(array.shape[:-1])


def _takes_texts(made: build.Build) -> bool:
    return any(tensor.dtype == "STRING" for tensor in made.inputs.values())


def _argument(made: build.Build, name: str) -> str:
    return made.inputs[name].argument or name


def _middle(made: build.Build, axis: str) -> int:
    bounds = made.axes.get(axis)
    return MIDDLE if bounds is None else min(max(MIDDLE, bounds.min), bounds.max)


def _tokens(made: build.Build, batch: int, sizes: Mapping[str, int], tokenizer: Path | None) -> Arrays:
    """The inputs that come from the tokenizer, as [batch, tokens], or [tokens] without a batch axis."""
    import numpy as np  # noqa: PLC0415

    names = [name for name in made.inputs if _argument(made, name) in TOKENIZED]
    if not names:
        msg = f"golden.texts need an input whose argument is one of {', '.join(TOKENIZED)}"
        raise errors.PipelineError(msg, hint="Set `argument` on the inputs, or remove golden.texts.")
    encoded = _encoded(made, names[0], texts(made, batch), sizes, tokenizer)
    fields = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    found = {}
    for name in names:
        rows = [getattr(one, fields[_argument(made, name)]) for one in encoded]
        array = np.array(rows, dtype=NUMPY[made.inputs[name].dtype])
        found[name] = array if len(made.inputs[name].shape) > 1 else array[0]
    return found


def _encoded(
    made: build.Build, name: str, words: tuple[str, ...], sizes: Mapping[str, int], tokenizer: Path | None
) -> list[Any]:
    """The texts as tokens: of the declared size, or as long as the longest one within the axis's bounds."""
    size = made.inputs[name].shape[-1]
    bounds = made.axes.get(size) if isinstance(size, str) else None
    fixed = sizes.get(size) if isinstance(size, str) else size
    encoder = _tokenizer(tokenizer)
    limit = fixed or (bounds.max if bounds else None)
    if limit is None:
        encoder.no_truncation()
    else:
        _truncate(encoder, limit)
    encoder.no_padding()
    found = encoder.encode_batch(list(words))
    longest = max(len(one.ids) for one in found)
    wanted = fixed or max(longest, bounds.min if bounds else 1)
    pad = next((entry for entry in ("[PAD]", "<pad>") if encoder.token_to_id(entry) is not None), None)
    for one in found:
        one.pad(wanted, pad_id=encoder.token_to_id(pad) if pad else 0, pad_token=pad or "[PAD]")
    return list(found)


def _truncate(encoder: Any, limit: int) -> None:  # noqa: ANN401 - tokenizers has no types here
    """Cut at `limit` tokens; below what the tokenizer itself adds to a text (`[CLS]`, `[SEP]`) add nothing."""
    added = encoder.num_special_tokens_to_add(is_pair=False)
    if limit <= added:
        import tokenizers  # noqa: PLC0415

        encoder.post_processor = tokenizers.processors.Sequence([])
    encoder.enable_truncation(limit)


def _tokenizer(folder: Path | None) -> Any:  # noqa: ANN401 - tokenizers has no types here
    import tokenizers  # noqa: PLC0415

    path = folder / "tokenizer.json" if folder is not None else None
    if path is None or not path.is_file():
        msg = "golden.texts need a tokenizer, and the source has no tokenizer.json"
        raise errors.PipelineError(msg, hint="Name a model whose source has one in golden.tokenizer.")
    return tokenizers.Tokenizer.from_str(_text(path))


@functools.cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _drawn(made: build.Build, name: str, batch: int, sizes: Mapping[str, int]) -> Array:
    """Numbers of the input's own stream: PCG64 seeded by seed, name and batch, the same on every machine."""
    import numpy as np  # noqa: PLC0415

    declared = made.inputs[name]
    if declared.dtype not in NUMPY:
        msg = f"input {name} is {declared.dtype}, for which no golden can be drawn"
        raise errors.PipelineError(msg, hint="Use another type.")
    shape = tuple(size if isinstance(size, int) else sizes[size] for size in declared.shape)
    if declared.dtype == "STRING":
        return _texts_in(made, shape)
    seed = hashlib.sha256(f"{made.golden.seed}\n{name}\n{batch}".encode()).digest()
    draw = np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big")))
    kind = np.dtype(NUMPY[declared.dtype])
    if declared.values is not None:
        low, high = declared.values.low, declared.values.high
        if kind.kind == "f":
            return (low + (high - low) * draw.random(shape)).astype(kind)
        return draw.integers(int(low), int(high), size=shape, dtype=np.int64).astype(kind)
    if _argument(made, name) == "attention_mask" and shape:
        return _mask(draw, shape).astype(kind)
    if kind.kind == "f":
        return draw.standard_normal(shape).astype(kind)
    high = 2 if kind.kind == "b" or _argument(made, name) == "token_type_ids" else 100
    return draw.integers(0, high, size=shape, dtype=np.int64).astype(kind)


def _texts_in(made: build.Build, shape: tuple[int, ...]) -> Array:
    """The golden texts in turn, in a tensor."""
    import numpy as np  # noqa: PLC0415

    if not made.golden.texts:
        msg = "a tensor of texts needs golden.texts"
        raise errors.PipelineError(msg, hint="Write some.")
    found = np.empty(int(np.prod(shape)), dtype=np.object_)
    found[:] = [made.golden.texts[place % len(made.golden.texts)].encode() for place in range(found.size)]
    return found.reshape(shape)


def _mask(draw: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Ones, then zeros: each row has at least one token."""
    import numpy as np  # noqa: PLC0415

    lengths = draw.integers(1, shape[-1] + 1, size=(*shape[:-1], 1))
    return np.asarray(np.arange(shape[-1]) < lengths)


def read(path: Path) -> Arrays:
    """Every tensor of a golden file, by its whole name. Raises PipelineError for a file that is none."""
    try:
        return unpacked(path.read_bytes())
    except (OSError, ValueError) as error:
        msg = f"{path} is no golden: {error}"
        raise errors.PipelineError(msg, hint="Run `export`: it makes goldens anew.") from error


def unpacked(data: bytes) -> Arrays:
    """Every tensor in the bytes of a golden file, texts as arrays of bytes objects. Raises ValueError."""
    import safetensors  # noqa: PLC0415
    from safetensors.numpy import load  # noqa: PLC0415

    try:
        found: Arrays = load(data)
        header = json.loads(data[_HEADER : _HEADER + int.from_bytes(data[:_HEADER], "little")])
        about = json.loads(header.get("__metadata__", {}).get("pipeline", "{}"))
        return found | {name: bytes_as_strings(found[name]) for name in about.get("strings", ())}
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error


def distance(first: Array, second: Array) -> float:
    """The largest absolute difference of two arrays of one shape and type; infinity where only one has a number."""
    import numpy as np  # noqa: PLC0415

    a, b = first.astype(np.float64), second.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    gaps = np.abs(np.where(same, 0.0, a - b))
    return float(np.nan_to_num(gaps, nan=np.inf).max(initial=0.0))


def moves(before: Arrays, after: Arrays) -> Iterator[str]:
    """How far each tensor moved: the largest absolute difference, or the change of shape, type or texts."""
    for name in sorted(before.keys() | after.keys()):
        first, second = before.get(name), after.get(name)
        if first is None or second is None:
            yield f"{name} is {'new' if first is None else 'gone'}"
        elif (first.shape, first.dtype) != (second.shape, second.dtype):
            yield f"{name} was {first.dtype}{list(first.shape)}, is {second.dtype}{list(second.shape)}"
        elif first.dtype == object:
            if first.tolist() != second.tolist():
                yield f"{name} has other texts"
        elif first.tobytes() != second.tobytes():
            yield f"{name} moved by at most {distance(first, second):.3g}"
