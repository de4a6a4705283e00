"""The rules of the models that the project makes itself: of texts to tokens, and of logits to labels."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.core import spec, tree

_INTEGERS = ("INT32", "INT64")
_FLOATS = ("FP16", "FP32", "FP64")
_TAKES = {"tokenizer": ("STRING",), "labels": _FLOATS}
_GIVES: dict[str, dict[str, tuple[str, ...]]] = {
    "tokenizer": dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), _INTEGERS),
    "labels": {"label": ("STRING",), "score": _FLOATS},
}


def faults(entry: spec.ModelEntry, path: tree.Path) -> Iterator[tree.Fault]:
    """What such a model cannot take or give."""
    method = entry.export if isinstance(entry.export, str) or entry.export is None else entry.export.method
    if method not in _TAKES:
        return
    if len(entry.inputs) != 1:
        message = f"`{method}` has one input, and this model has {len(entry.inputs)}"
        yield tree.Fault(path=(*path, "inputs"), rule="step-tensors", message=message, on_key=True)
    for name, tensor in entry.inputs.items():
        if tensor.dtype not in _TAKES[method]:
            message = f"`{method}` takes {' or '.join(_TAKES[method])}, not {tensor.dtype}"
            yield tree.Fault(path=(*path, "inputs", name, "dtype"), rule="step-tensors", message=message)
    for name, output in entry.outputs.items():
        yield from _output(method, name, output, entry, (*path, "outputs", name))


def _output(method: str, name: str, output: spec.Output, entry: spec.ModelEntry, at: tree.Path) -> Iterator[tree.Fault]:
    gives = _GIVES[method]
    field = output.result if output.result is not None else name
    if field not in gives:
        message = f"`{method}` gives {', '.join(gives)}, and no `{str(field)[:80]}`"
        hint = "name one as `result`"
        yield tree.Fault(path=at, rule="step-tensors", message=message, hint=hint, on_key=True)
    elif output.dtype not in gives[str(field)]:
        message = f"`{field}` is {' or '.join(gives[str(field)])}, not {output.dtype}"
        yield tree.Fault(path=(*at, "dtype"), rule="step-tensors", message=message)
    for key, written in (("pool", output.pool), ("normalize", output.normalize)):
        if written:
            message = f"`{method}` has nothing to {key}"
            yield tree.Fault(path=(*at, key), rule="step-tensors", message=message, hint="remove it", on_key=True)
    if method == "tokenizer" and len(output.shape) != 2:
        first = spec.BATCH if entry.max_batch_size else "texts"
        message = "tokens have two axes: the texts, and the tokens of each"
        yield tree.Fault(path=(*at, "shape"), rule="step-tensors", message=message, hint=f"write [{first}, sequence]")
