"""How a config's tensors meet those of a model that names them, as NVIDIA's C++ backends for such formats do it.

Plain data in, plain data out: the rules and the texts of the refusals are those of
triton-inference-server/onnxruntime_backend and openvino_backend, so that a repository that loads here loads there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.triton_backends import refusals

CONTROLS = ("CONTROL_SEQUENCE_START", "CONTROL_SEQUENCE_END", "CONTROL_SEQUENCE_READY", "CONTROL_SEQUENCE_CORRID")


class Found(NamedTuple):
    """A tensor of the model: its type in the config's words, and its shape, -1 where a size may be any."""

    dtype: str
    shape: tuple[int, ...]


class Tensor(NamedTuple):
    """A tensor of the config that the model has. A `scalar` one has no axes in the model, a `ragged` one a single."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    optional: bool = False
    ragged: bool = False
    scalar: bool = False


class Rules(NamedTuple):
    """What differs from backend to backend: the types it takes, and whether it converts others to the config's."""

    dtypes: frozenset[str]
    converts: bool = False


def inputs(
    config: Mapping[str, Any], found: Mapping[str, Found], initializers: Mapping[str, Found], rules: Rules
) -> tuple[Tensor, ...]:
    """The config's inputs and controls, matched by name. `initializers` may be given in place of their own values.

    Raises Refused as the C++ backends do.
    """
    _refuse_foreign(config)
    declared = config.get("input", [])
    controls = _controls(config, found)
    expected = sum(not item.get("optional") for item in declared) + len(controls)
    if expected != len(found):
        text = f"configuration expects {expected} inputs, model provides {len(found)}"
        raise refusals.Refused(refusals.INVALID, f"{_unable(config)}, {text}")
    every = {**found, **initializers}
    return (*(_input(config, item, every, rules) for item in declared), *controls)


def outputs(config: Mapping[str, Any], found: Mapping[str, Found], rules: Rules) -> tuple[Tensor, ...]:
    """The config's outputs, matched by name and sorted, as responses list them. Raises Refused."""
    matched = []
    for item in config.get("output", []):
        there = _there(item["name"], found, "output")
        _check_type(config, item, there, "output", rules)
        dims = _dims(item)
        _check_dims(config, item["name"], there.shape, dims, exact=True)
        matched.append(Tensor(item["name"], item["data_type"], tuple(dims), scalar=not there.shape))
    return tuple(sorted(matched))


def _unable(config: Mapping[str, Any]) -> str:
    return f"unable to load model '{config['name']}'"


def _refuse_foreign(config: Mapping[str, Any]) -> None:
    """What Triton's Python backend cannot do for a model: the C++ backends can."""
    states = (config.get("sequence_batching") or {}).get("state")
    for field, there in (
        ("sequence_batching.state", states),
        ("batch_input", config.get("batch_input")),
        ("batch_output", config.get("batch_output")),
    ):
        if there:
            text = f"{_unable(config)}, `{field}` is not served without NVIDIA's own backend"
            raise refusals.Refused(refusals.UNSUPPORTED, text)


def _input(config: Mapping[str, Any], item: Mapping[str, Any], found: Mapping[str, Found], rules: Rules) -> Tensor:
    name, optional, ragged = item["name"], bool(item.get("optional")), bool(item.get("allow_ragged_batch"))
    if optional and config.get("max_batch_size", 0):
        text = f"optional input '{name}' is not supported for models that support batching"
        raise refusals.Refused(refusals.INVALID, f"{_unable(config)}, {text}")
    there = _there(name, found, "input")
    _check_type(config, item, there, "input", rules)
    dims = _dims(item)
    if ragged and there.shape != (-1,):
        text = f"configuration expects model provides input with shape [-1]  for ragged input '{name}'"
        raise refusals.Refused(refusals.INVALID, f"{_unable(config)}, {text}, model provides {shown(there.shape)}")
    if not ragged:
        _check_dims(config, name, there.shape, dims, exact=False)
    return Tensor(name, item["data_type"], tuple(dims), optional, ragged, not there.shape)


def _there(name: str, found: Mapping[str, Found], side: str) -> Found:
    if name not in found:
        text = f"unexpected inference {side} '{name}', allowed {side}s are: {', '.join(sorted(found))}"
        raise refusals.Refused(refusals.INVALID, text)
    return found[name]


def _check_type(config: Mapping[str, Any], item: Mapping[str, Any], there: Found, side: str, rules: Rules) -> None:
    dtype, name = item["data_type"], item["name"]
    if dtype not in rules.dtypes:
        text = f"unsupported datatype {dtype} for {side} '{name}' for model '{config['name']}'"
        raise refusals.Refused(refusals.INTERNAL, text)
    if dtype != there.dtype and not rules.converts:
        text = f"configuration expects datatype {dtype} for {side} '{name}', model provides {there.dtype}"
        raise refusals.Refused(refusals.INVALID, f"{_unable(config)}, {text}")


def _dims(item: Mapping[str, Any]) -> list[int]:
    """The config's sizes without the batch axis, as the model sees them; JSON has 64-bit integers as text."""
    dims = item["reshape"].get("shape", []) if item.get("reshape") else item.get("dims", [])
    return [int(size) for size in dims]


def _check_dims(
    config: Mapping[str, Any], name: str, shape: Sequence[int], dims: Sequence[int], *, exact: bool
) -> None:
    """A model's fixed size must be the config's. `exact`: and a config's fixed size the model's."""
    if not shape:
        if any(size != 1 for size in dims):
            text = f"scalar tensor '{name}', should only provide 1 in the model configuration when the model doesn't"
            more = f"support batching. Model configuration provided: {shown(dims)}."
            raise refusals.Refused(refusals.INVALID, f"{_unable(config)}, {text} {more}")
        return
    about = f"model '{config['name']}', tensor '{name}': "
    batching = config.get("max_batch_size", 0) > 0
    if batching and shape[0] != -1:
        text = "for the model to support batching the shape should have at least 1 dimension and the first dimension"
        more = f"must be -1; but shape expected by the model is {shown(shape)}"
        raise refusals.Refused(refusals.INVALID, f"{about}{text} {more}")
    whole = [-1, *dims] if batching else list(dims)
    pairs = zip(shape, whole, strict=False)
    if len(shape) != len(whole) or any(size != own for size, own in pairs if exact or size != -1):
        text = f"the model expects {len(shape)} dimensions (shape {shown(shape)}) but the model configuration specifies"
        kind = "an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, making"
        kind = f"{kind} complete shape" if batching else "shape"
        raise refusals.Refused(refusals.INVALID, f"{about}{text} {len(whole)} dimensions ({kind} {shown(whole)})")


def _controls(config: Mapping[str, Any], found: Mapping[str, Found]) -> list[Tensor]:
    """The tensors that a sequence batcher adds: the model must have each, with the one dimension [1]."""
    batching = config.get("max_batch_size", 0) > 0
    matched = []
    for name, dtype in _control_types(config):
        if name not in found:
            text = f"configuration specified sequence control '{name}', but model does not provide that input"
            raise refusals.Refused(refusals.INTERNAL, text)
        shape = found[name].shape[1:] if batching else found[name].shape
        if shape != (1,):
            text = f"sequence control '{name}' in model has dims {shown(shape)} but dims [1] is expected"
            raise refusals.Refused(refusals.INVALID, f"{_unable(config)}, {text}")
        if dtype != found[name].dtype:
            text = f"sequence control '{name}', the model expects data-type {found[name].dtype.removeprefix('TYPE_')}"
            more = f"but the model configuration specifies data-type {dtype}"
            raise refusals.Refused(refusals.INVALID, f"{_unable(config)}, {text} {more}")
        matched.append(Tensor(name, dtype, (1,)))
    return matched


def _control_types(config: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Each control's tensor, and its type: by its own word, or by which pair of values it is told apart with."""
    for tensor in (config.get("sequence_batching") or {}).get("control_input", []):
        for control in tensor.get("control", []):
            if control.get("kind", CONTROLS[0]) not in CONTROLS:
                continue
            pairs = {"int32_false_true": "TYPE_INT32", "fp32_false_true": "TYPE_FP32", "bool_false_true": "TYPE_BOOL"}
            told = [dtype for key, dtype in pairs.items() if control.get(key)]
            yield tensor["name"], told[0] if told else control.get("data_type", "TYPE_INVALID")


def shown(shape: Iterable[int]) -> str:
    """A shape as Triton writes it."""
    return f"[{','.join(map(str, shape))}]"
