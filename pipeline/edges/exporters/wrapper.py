"""The module that is exported: it takes and gives exactly the declared tensors, whatever the model inside does.

Needs torch: only for the export process, and imported inside functions elsewhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipeline.core import build, errors, spec
from pipeline.edges.exporters import signature

DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FP16": torch.float16,
    "FP32": torch.float32,
    "FP64": torch.float64,
}
"""What an exported model takes and gives: the types that Triton's PyTorch backend serves."""


class Wrapper(torch.nn.Module):  # type: ignore[misc]
    """Casts the declared inputs to what `model` wants, passes them on by name, picks, pools and casts the results.

    A transformers model wants integers in 64 bits and floats in its own type; any other module gets what was declared.
    """

    # TorchScript keeps plain attributes: whatever is added here changes the bytes of every artifact.
    def __init__(self, model: torch.nn.Module, made: build.Build, *, widen: bool) -> None:
        super().__init__()
        self.model = model
        self.widen = widen
        self.names = [name for name, _ in signature.inputs(made)]
        self.declared = dict(made.inputs)
        self.results = [(name, made.outputs[name]) for name in signature.outputs(made)]
        self.positions = {name: position for position, name in enumerate(made.outputs)}

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The declared tensors in the order of signature.inputs to one tensor, or a tuple of more."""
        given = dict(zip(self.names, tensors, strict=True))
        ordered: list[torch.Tensor] = []
        named: dict[str, torch.Tensor] = {}
        for name, declared in self.declared.items():
            value = self._given(given[name])
            if declared.argument is None:
                ordered.append(value)
            else:
                named[declared.argument] = value
        result = self.model(*ordered, **named)
        mask = named.get("attention_mask")
        picked = [self._output(result, name, output, mask) for name, output in self.results]
        return picked[0] if len(picked) == 1 else tuple(picked)

    def _given(self, value: torch.Tensor) -> torch.Tensor:
        if not self.widen:
            return value
        if value.dtype in {torch.uint8, torch.int8, torch.int16, torch.int32}:
            return value.to(torch.int64)
        return value.to(torch.float32) if value.dtype in {torch.float16, torch.float64} else value

    def _picked(self, result: Any, name: str, output: spec.Output) -> torch.Tensor:  # noqa: ANN401
        return _pick(result, output.result if output.result is not None else self.positions[name], name)

    def _output(self, result: Any, name: str, output: spec.Output, mask: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        tensor = self._picked(result, name, output)
        if output.pool is not None:
            tensor = _pooled(tensor, output.pool, mask)
        if output.normalize:
            tensor = torch.nn.functional.normalize(tensor, p=2.0, dim=-1)
        return tensor.to(DTYPES[output.dtype])


class Lowered(Wrapper):
    """The same around a model that computes in `dtype`: what comes out of it is pooled in full precision again."""

    def __init__(self, model: torch.nn.Module, made: build.Build, *, widen: bool, dtype: torch.dtype) -> None:
        super().__init__(model, made, widen=widen)
        self.dtype = dtype

    def _given(self, value: torch.Tensor) -> torch.Tensor:
        value = super()._given(value)
        return value.to(self.dtype) if value.is_floating_point() else value

    def _picked(self, result: Any, name: str, output: spec.Output) -> torch.Tensor:  # noqa: ANN401
        tensor = super()._picked(result, name, output)
        return tensor.to(torch.float32) if tensor.is_floating_point() else tensor


def wrap(
    model: torch.nn.Module, made: build.Build, *, scripted: bool = False, dtype: torch.dtype | None = None
) -> Wrapper:
    """A Wrapper whose forward() has the argument names of signature.inputs. Raises errors.PipelineError for a type that
    a torch model has no tensors of.
    """
    if not isinstance(model, torch.nn.Module):
        msg = f"the source gives a {type(model).__name__}, not a torch.nn.Module"
        raise errors.PipelineError(msg, hint="A Keras or TensorFlow model is exported by `savedmodel`.")
    declared = {name: tensor.dtype for name, tensor in made.inputs.items()}
    declared |= {name: tensor.dtype for name, tensor in made.outputs.items()}
    for name, kind_of in declared.items():
        if kind_of not in DTYPES:
            msg = f"tensor {name} is {kind_of}, which an exported torch model does not take"
            raise errors.PipelineError(msg, hint=f"It takes {', '.join(DTYPES)}.")
    widen = not scripted and any(kind.__module__ == "transformers.modeling_utils" for kind in type(model).__mro__)
    made_up = Lowered(model, made, widen=widen, dtype=dtype) if dtype else Wrapper(model, made, widen=widen)
    wrapper: Wrapper = made_up.eval()
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(argument, kind) for _, argument in signature.inputs(made)]

    def forward(*tensors: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        return Wrapper.forward(wrapper, *tensors)

    # The tracer takes the artifact's argument names from the signature.
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.forward = forward  # type: ignore[method-assign]
    return wrapper


def _pick(result: Any, key: str | int, name: str) -> torch.Tensor:  # noqa: ANN401 - whatever a model returns
    """A result by field, attribute or position. Raises errors.PipelineError naming what there is."""
    found: object = None
    if isinstance(result, torch.Tensor):
        found = result if key == 0 else None
        there = "one tensor"
    elif isinstance(result, Mapping):
        there = "the fields " + ", ".join(map(str, result))
        values = list(result.values())
        found = result.get(key) if isinstance(key, str) else values[key] if 0 <= key < len(values) else None
    elif isinstance(key, int):
        there = f"{len(result)} results" if isinstance(result, Sequence) else f"a {type(result).__name__}"
        found = result[key] if isinstance(result, Sequence) and 0 <= key < len(result) else None
    else:
        there = f"a {type(result).__name__}"
        found = getattr(result, key, None)
    if not isinstance(found, torch.Tensor):
        msg = f"output {name}: forward() gives no tensor {key!r}; it gives {there}"
        raise errors.PipelineError(msg, hint=f"Set outputs.{name}.result to one that it gives.")
    return found


def _pooled(hidden: torch.Tensor, pool: str, mask: torch.Tensor | None) -> torch.Tensor:
    """[batch, token, size] to [batch, size]; tokens whose mask is 0 do not count."""
    if hidden.dim() != 3:
        msg = f"pool: {pool} needs a result of three axes (batch, token, size), and this one has {hidden.dim()}"
        raise errors.PipelineError(msg, hint="Remove `pool`, or choose the result with the hidden states.")
    if pool == "cls":
        return hidden[:, 0]
    if mask is None:
        return hidden.mean(1) if pool == "mean" else hidden.amax(1)
    shown = mask.unsqueeze(-1).to(hidden.dtype)
    if pool == "mean":
        return (hidden * shown).sum(1) / shown.sum(1).clamp(min=1e-9)
    return hidden.masked_fill(shown == 0, float("-inf")).amax(1)
