"""SavedModel: a Keras or TensorFlow model with one signature, whose tensors are the declared ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import build, errors, spec
from pipeline.edges.exporters import agreement
from pipeline.triton_backends import named
from pipeline.triton_backends.tensorflow import parameters

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[Any]]
    Runner = Callable[[Arrays], dict[str, npt.NDArray[Any]]]

ARCHIVE = "model.savedmodel"
_TYPES = {triton.removeprefix("TYPE_"): name for name, triton in parameters.TYPES.items()}


def eager(module: Any, made: build.Build) -> Runner:  # noqa: ANN401 - a Keras model, or any of TensorFlow's
    """The model itself, asked by the declared tensors. Raises errors.PipelineError for a model of another framework."""
    import tensorflow as tf  # noqa: PLC0415

    if not isinstance(module, tf.Module | tf.keras.Model):
        msg = f"the factory gave a {type(module).__name__}, not a Keras or TensorFlow model"
        raise errors.PipelineError(msg, hint="A torch module is exported by `trace`, `script`, `onnx` or `openvino`.")

    def run(inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        given = {name: tf.constant(inputs[name]) for name in made.inputs}
        return {name: tensor.numpy() for name, tensor in _answer(module, made, given).items()}

    return run


def export(module: Any, example: Arrays, made: build.Build, folder: Path) -> None:  # noqa: ANN401, ARG001
    """Writes the model with a signature of the declared tensors. Raises errors.PipelineError for what TensorFlow
    cannot make a graph of."""
    import tensorflow as tf  # noqa: PLC0415

    specs = [
        tf.TensorSpec([size if isinstance(size, int) else None for size in tensor.shape], _TYPES[tensor.dtype], name)
        for name, tensor in made.inputs.items()
    ]

    def answer(*tensors: Any) -> Any:  # noqa: ANN401
        return _answer(module, made, dict(zip(made.inputs, tensors, strict=True)))

    try:
        holder = tf.Module()
        holder.model = module
        holder.answer = tf.function(answer, input_signature=specs)
        tf.saved_model.save(holder, str(folder / ARCHIVE), signatures={parameters.SIGNATURE: holder.answer})
    except errors.PipelineError:
        raise
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        msg = f"TensorFlow cannot save the model: {lines[0] if lines else type(error).__name__}"
        raise errors.PipelineError(msg, hint="Change the model's code, or its inputs.", details=lines[1:16]) from error
    (folder / ARCHIVE / "fingerprint.pb").unlink(missing_ok=True)  # a random number, which no loader needs
    for each in (folder / ARCHIVE).iterdir():
        if each.is_dir() and not any(each.iterdir()):
            each.rmdir()  # what is empty is not kept anywhere


def load(path: Path, made: build.Build) -> Runner:
    """A SavedModel read back. Raises errors.PipelineError when it is none, or when its tensors are not the declared
    ones, as NVIDIA's backend compares them."""
    import tensorflow as tf  # noqa: PLC0415

    try:
        loaded = tf.saved_model.load(str(path))
        call = loaded.signatures[parameters.SIGNATURE]
    except (OSError, KeyError, ValueError) as error:
        msg = f"{path.name} is no SavedModel with the signature {parameters.SIGNATURE}: {error}"
        raise errors.PipelineError(msg, hint="Export it with `export: savedmodel`.") from error
    found = [_found(call.structured_input_signature[1]), _found(call.structured_outputs)]
    agreement.check(made, found[0], {}, found[1], parameters.RULES)

    def run(inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        try:
            answers = call(**{name: tf.constant(array) for name, array in inputs.items()})
        except tf.errors.OpError as error:
            raise RuntimeError(error.message) from error
        return {name: answers[name].numpy() for name in made.outputs} if loaded else {}

    return run


def _answer(module: Any, made: build.Build, given: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """The declared outputs: the model's results picked by name or place, in their declared types."""
    import tensorflow as tf  # noqa: PLC0415

    by_name = {tensor.argument: given[name] for name, tensor in made.inputs.items() if tensor.argument is not None}
    in_order = [given[name] for name, tensor in made.inputs.items() if tensor.argument is None]
    if not isinstance(module, tf.keras.Model):
        result = module(*in_order, **by_name)
    elif by_name:
        result = module(by_name, training=False)
    else:
        result = module(in_order if len(in_order) > 1 else in_order[0], training=False)
    return {
        name: tf.cast(_pick(result, output, place, name), _TYPES[output.dtype])
        for place, (name, output) in enumerate(made.outputs.items())
    }


def _pick(result: Any, output: spec.Output, place: int, name: str) -> Any:  # noqa: ANN401
    if output.pool or output.normalize:
        msg = f"output {name}: `pool` and `normalize` are for torch models"
        raise errors.PipelineError(msg, hint="Make them layers of the model.")
    key = output.result if output.result is not None else place
    rows = list(result.values()) if isinstance(result, Mapping) else result
    rows = list(rows) if isinstance(rows, list | tuple) else [rows]
    if isinstance(key, str):
        found = result.get(key) if isinstance(result, Mapping) else None
    else:
        found = rows[key] if 0 <= key < len(rows) else None
    if found is None:
        there = f"the fields {', '.join(map(str, result))}" if isinstance(result, Mapping) else f"{len(rows)} results"
        msg = f"output {name}: the model gives no {key!r}; it gives {there}"
        raise errors.PipelineError(msg, hint=f"Set outputs.{name}.result to one that it gives.")
    return found


def _found(specs: Mapping[str, Any]) -> dict[str, named.Found]:
    return {
        name: named.Found(
            parameters.TYPES.get(each.dtype.name, "TYPE_INVALID"),
            tuple(-1 if size is None else int(size) for size in each.shape),
        )
        for name, each in specs.items()
    }
