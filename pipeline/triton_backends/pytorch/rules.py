"""How a config's tensors meet a TorchScript model's arguments and results, as NVIDIA's C++ backend does it.

Plain data in, plain data out: no torch, no Triton. The rules and the texts of the refusals are those of
triton-inference-server/pytorch_backend, so that a repository that loads here loads there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.triton_backends import named, refusals

TORCH = {
    "TYPE_BOOL": "bool",
    "TYPE_UINT8": "uint8",
    "TYPE_INT8": "int8",
    "TYPE_INT16": "int16",
    "TYPE_INT32": "int32",
    "TYPE_INT64": "int64",
    "TYPE_FP16": "float16",
    "TYPE_FP32": "float32",
    "TYPE_FP64": "float64",
}
"""The data types that the backend takes, and torch's names for them; STRING is a List[str]."""


class Argument(NamedTuple):
    """An argument of `forward()`: its name, and its kind and type as TorchScript says them (`TensorType`, `Tensor`)."""

    name: str
    kind: str
    type: str


class Tensor(NamedTuple):
    """A tensor of the config with the position that the rules give it in the model."""

    name: str
    dtype: str
    position: int
    ragged: bool = False


class Inputs(NamedTuple):
    """The inputs in the config's order, and whether the model takes them as one dictionary by name."""

    tensors: tuple[Tensor, ...]
    as_dict: bool


def inputs(config: Mapping[str, Any], arguments: Sequence[Argument], warn: list[str]) -> Inputs:
    """Matches the config's inputs to the arguments of `forward()` (without `self`).

    Rule 1: every name is an argument's. Rule 2: every name ends in `__<integer>`, the position. Rule 3: the config's
    order. Raises Refused as the C++ backend does, and for a position that the model does not have: there the C++
    backend loads, and its whole server dies at the first request.
    """
    declared = config.get("input", [])
    _refuse_optional(declared)
    controls = _controls(config)
    as_dict = len(arguments) == 1 and arguments[0].kind == "DictType"
    if arguments and not as_dict:
        _check_arguments(arguments)
        expected = len(declared) + len(controls)
        if expected != len(arguments):
            text = f"unable to load model '{config['name']}', configuration expects {expected} inputs, "
            raise refusals.Refused(refusals.INVALID, f"{text}model provides {len(arguments)}")
    if not declared:
        raise refusals.Refused(
            refusals.INTERNAL, "model configuration must contain at least one input, none were specified."
        )
    positions = _input_positions(config, declared, arguments, warn)
    for item in declared:
        _check_type(config, item, "input")
    named = [
        Tensor(item["name"], item["data_type"], at, bool(item.get("allow_ragged_batch")))
        for item, at in zip(declared, positions, strict=True)
    ]
    named += controls
    if arguments and not as_dict:
        _check_positions(config, named, len(arguments))
    return Inputs(tuple(named), as_dict)


def outputs(config: Mapping[str, Any], warn: list[str]) -> tuple[Tensor, ...]:
    """Matches the config's outputs to the model's results by rules 2 and 3, sorted by name. Raises Refused."""
    declared = config.get("output", [])
    if not declared:
        raise refusals.Refused(
            refusals.INTERNAL, "model configuration must contain at least one output, none were specified."
        )
    names = [item["name"] for item in declared]
    odd = [name for name in names if position(name) is None]
    positions = list(range(len(names))) if odd else [position(name) or 0 for name in names]
    if odd and "__" in odd[0]:
        warn.append(
            f"output '{odd[0]}' or previous output(s) of the model '{config['name']}' do not follow the <name>__<index>"
            " naming convention. Falling back to enforcing strict ordering from model configuration."
        )
    for item in declared:
        _check_type(config, item, "output")
    found = [Tensor(item["name"], item["data_type"], at) for item, at in zip(declared, positions, strict=True)]
    return tuple(sorted(found))


def position(name: str) -> int | None:
    """The integer after the first `__` of a tensor's name (0 where nothing follows), or None where there is none."""
    _, mark, index = name.partition("__")
    if not mark or not all(letter in "0123456789" for letter in index):
        return None
    return int(index or "0")


def _refuse_optional(declared: Sequence[Mapping[str, Any]]) -> None:
    for item in declared:
        if item.get("optional"):
            text = f"'optional' is set to true for input '{item['name']}' while the backend model doesn't support"
            raise refusals.Refused(refusals.INVALID, f"{text} optional input")


def _check_arguments(arguments: Sequence[Argument]) -> None:
    if any(argument.kind == "DictType" for argument in arguments[1:]):
        text = "Multiple inputs of kind DictType were detected. Only a single input of type Dict(str, Tensor) is"
        raise refusals.Refused(refusals.INTERNAL, f"{text} supported.")
    for argument in arguments:
        if argument.kind not in {"TensorType", "ListType"}:
            text = f"An input of type '{argument.type}' was detected in the model. Only a single input of type"
            raise refusals.Refused(
                refusals.INTERNAL, f"{text} Dict(str, Tensor) or input(s) of type Tensor are supported."
            )


def _input_positions(
    config: Mapping[str, Any], declared: Sequence[Mapping[str, Any]], arguments: Sequence[Argument], warn: list[str]
) -> list[int]:
    names = [item["name"] for item in declared]
    order = [argument.name for argument in arguments]
    if all(name in order for name in names):
        return [order.index(name) for name in names]
    odd = [name for name in names if position(name) is None]
    if not odd:
        return [position(name) or 0 for name in names]
    if "__" in odd[0]:
        warn.append(
            f"input '{odd[0]}' or previous input(s) are neither an input argument to the model '{config['name']}' nor"
            " do they follow the <name>__<index> naming convention. Falling back to enforcing strict ordering from"
            " model configuration."
        )
    return list(range(len(names)))


def _check_positions(config: Mapping[str, Any], named: Sequence[Tensor], count: int) -> None:
    taken: dict[int, str] = {}
    for tensor in named:
        if tensor.position >= count:
            text = f"unable to load model '{config['name']}', input '{tensor.name}' refers to an input index which"
            raise refusals.Refused(refusals.INVALID, f"{text} doesn't exist. This model has {count} inputs")
        if tensor.position in taken:
            text = f"unable to load model '{config['name']}', inputs '{taken[tensor.position]}' and '{tensor.name}'"
            raise refusals.Refused(refusals.INVALID, f"{text} refer to the same input index {tensor.position}")
        taken[tensor.position] = tensor.name


def _check_type(config: Mapping[str, Any], item: Mapping[str, Any], side: str) -> None:
    dtype, name = item["data_type"], item["name"]
    if dtype not in TORCH and dtype != "TYPE_STRING":
        raise refusals.Refused(
            refusals.INTERNAL, f"unsupported datatype {dtype} for {side} '{name}' for model '{config['name']}'"
        )
    dims = item["reshape"].get("shape", []) if item.get("reshape") else item.get("dims", [])
    if dtype == "TYPE_STRING" and len(dims) + (int(config.get("max_batch_size", 0)) > 0) > 1:
        text = f"Triton only supports 1 dimensional List of String as {side} for '{name}' for model"
        raise refusals.Refused(refusals.INTERNAL, f"{text} '{config['name']}'")


def _controls(config: Mapping[str, Any]) -> list[Tensor]:
    """The tensors that a sequence batcher adds; their names must have a position."""
    found = []
    for tensor in (config.get("sequence_batching") or {}).get("control_input", []):
        for control in tensor.get("control", []):
            if control.get("kind", named.CONTROLS[0]) not in named.CONTROLS:
                continue
            at = position(tensor["name"])
            if at is None:
                text = f"input '{tensor['name']}' does not follow <name>__<index> naming convention."
                raise refusals.Refused(refusals.INTERNAL, text)
            found.append(Tensor(tensor["name"], control.get("data_type", "TYPE_INVALID"), at))
    return found
