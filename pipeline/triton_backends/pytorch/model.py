"""What Triton runs for a model of the `pytorch` backend: one process an instance, one forward a batch.

Triton imports this file as the module `model`, with the folder `pipeline` of this package copied beside it. Start-up
is mostly the import of torch, so nothing else that is heavy may be imported here.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Before site-packages: the copy beside this file is the one that the server's fingerprint covers.
sys.path.insert(0, str(Path(__file__).parent))

# The import of torch makes half a million objects that stay: looking for garbage among them costs a fifth of it.
gc.disable()
import torch  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402

gc.freeze()
gc.enable()

from pipeline.triton_backends import cores, refusals, serving  # noqa: E402
from pipeline.triton_backends.pytorch import parameters, rules  # noqa: E402

_PACKAGE = ".pt2"
_TRITON = {name: triton for triton, name in rules.TORCH.items()} | {"bfloat16": "TYPE_BF16"}


class TritonPythonModel(serving.Model):
    """One instance of a TorchScript model."""

    def load(self, config: dict[str, Any], args: dict[str, str]) -> None:
        """Loads the TorchScript file and matches its arguments to the config."""
        self._set = parameters.parse(config)
        self._device = _device(args)
        _configure(self._set, cores.threads(config, cores.available()))
        self._forward, arguments = self._read(config, args)
        warnings: list[str] = []
        self._inputs = rules.inputs(config, arguments, warnings)
        self._outputs = rules.outputs(config, warnings)
        for warning in warnings:
            pb_utils.Logger.log_warn(warning)
        text = f"{torch.get_num_threads()} intra-op and {torch.get_num_interop_threads()} inter-op threads"
        pb_utils.Logger.log_info(f"model instance '{args['model_instance_name']}' has {text}")

    def _read(self, config: dict[str, Any], args: dict[str, str]) -> tuple[Callable[..., Any], list[rules.Argument]]:
        """What runs the model, and what it takes; a compiled package does not say the latter."""
        path = serving.file(config, "model.pt")
        if not path.exists():
            where = f"model instance '{config['name']}' version {args['model_version']}"
            raise refusals.Refused(refusals.UNAVAILABLE, f"unable to find '{path}' for {where}")
        device = None if args["model_instance_kind"] == "MODEL" else self._device
        try:
            if path.suffix == _PACKAGE:
                from torch._inductor import aoti_load_package  # noqa: PLC0415 - slow, and seldom needed

                return aoti_load_package(str(path)), []
            self._module = torch.jit.load(path, map_location=device)
        except Exception as error:
            text = f"failed to load model '{config['name']}': {error}"
            raise refusals.Refused(refusals.INTERNAL, text) from None
        # The bare method: no hooks of nn.Module, which cost more than a small model's forward.
        forward = self._module._c._get_method("forward")
        return forward, [
            rules.Argument(argument.name, argument.type.kind(), str(argument.type))
            for argument in forward.schema.arguments[1:]
        ]

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        """One forward over the requests' rows."""
        given = [{tensor.name(): tensor for tensor in request.inputs()} for request in requests]
        with torch.inference_mode(self._set.inference_mode), torch.no_grad():
            taken = [(tensor, [self._take(tensor, each) for each in given]) for tensor in self._inputs.tensors]
            # Triton has seen to it that all inputs of a request share the batch axis.
            sizes = [len(each) for each in taken[0][1]] if not taken[0][0].ragged else [_rows(each) for each in given]
            results = _results(self._run([(tensor, _join(tensor, parts)) for tensor, parts in taken]))
            columns = [self._give(output, results, sizes) for output in self._outputs]
        return [pb_utils.InferenceResponse(list(row)) for row in zip(*columns, strict=True)]

    def _take(self, tensor: rules.Tensor, given: dict[str, Any]) -> Any:
        """A request's tensor as torch has it, sharing Triton's memory; text as a list."""
        value = given.get(tensor.name)
        if value is None:
            raise refusals.Failed(pb_utils.TritonError.INVALID_ARG, f"expected input '{tensor.name}' in the request")
        if tensor.dtype == "TYPE_STRING":
            return [text.decode("utf-8", "surrogateescape") for text in value.as_numpy().ravel()]
        found = torch.utils.dlpack.from_dlpack(value.to_dlpack())
        return found if found.device == self._device else found.to(self._device)

    def _run(self, inputs: list[tuple[rules.Tensor, Any]]) -> Any:
        try:
            if self._inputs.as_dict:
                return self._forward({tensor.name: value for tensor, value in inputs})
            values = [value for _, value in sorted(inputs, key=lambda item: item[0].position)]
            return self._forward(*values)
        except Exception as error:
            raise refusals.Failed(pb_utils.TritonError.INTERNAL, f"PyTorch execute failure: {error}") from None

    def _give(self, output: rules.Tensor, results: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
        """One output's part for each request. Raises Failed as the C++ backend answers."""
        if output.position >= len(results):
            text = f"The output {output.name} in the model configuration refers to an output index which doesn't exist."
            raise refusals.Failed(pb_utils.TritonError.INVALID_ARG, f"{text} This model has {len(results)} outputs")
        result = results[output.position]
        if isinstance(result, list):
            parts = [pb_utils.np.array([text.encode() for text in result], dtype=pb_utils.np.object_)]
            return [pb_utils.Tensor(output.name, part) for part in parts]
        _check(output, result)
        return [_tensor(output.name, part) for part in serving.split(result, sizes, output.name)]


def _device(args: dict[str, str]) -> Any:
    if args["model_instance_kind"] == "GPU" and torch.cuda.is_available():
        return torch.device("cuda", int(args["model_instance_device_id"]))
    return torch.device("cpu")


def _configure(chosen: parameters.Parameters, threads: int) -> None:
    """Sets the process's threads and TorchScript's executor: one instance has a process of its own."""
    torch.set_num_threads(chosen.intra_op or threads)
    torch.set_num_interop_threads(chosen.inter_op or threads)
    torch._C._set_graph_executor_optimize(chosen.optimize)
    if chosen.jit_profiling is not None:
        torch._C._jit_set_profiling_mode(chosen.jit_profiling)
    if chosen.jit_executor is not None:
        torch._C._jit_set_profiling_executor(chosen.jit_executor)
    if chosen.tensor_fuser is not None:
        torch._C._jit_set_texpr_fuser_enabled(chosen.tensor_fuser)


def _join(tensor: rules.Tensor, parts: list[Any]) -> Any:
    """The parts of all requests as one tensor; a single part is passed on as it is."""
    if tensor.ragged:
        parts = [part.reshape(-1) for part in parts]
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], list):
        return [text for part in parts for text in part]
    return torch.cat(parts)


def _rows(given: dict[str, Any]) -> int:
    return int(next(iter(given.values())).shape()[0])


def _results(found: Any) -> Sequence[Any]:
    """What forward() gave, as a row of tensors and lists of text. Raises Failed with the C++ backend's texts."""
    row = found if isinstance(found, tuple) else (found,)
    for index, result in enumerate(row):
        if isinstance(result, torch.Tensor) or (isinstance(result, list) and all(isinstance(x, str) for x in result)):
            continue
        where = f"output at index {index}" if isinstance(found, tuple) else "output"
        text = f"{where} must be of type Tensor, List[str] or Tuple containing one of these two types. It should not be"
        what = "a List / Dictionary of Tensors or a Scalar"
        raise refusals.Failed(pb_utils.TritonError.INTERNAL, f"PyTorch execute failure: {text} {what}")
    return row


def _check(output: rules.Tensor, result: Any) -> None:
    name = str(result.dtype).removeprefix("torch.")
    got = _TRITON.get(name, "TYPE_<invalid>")
    if got != output.dtype:
        text = f"configuration expects datatype {output.dtype} for output '{output.name}', model provides {got}"
        raise refusals.Failed(pb_utils.TritonError.INVALID_ARG, text)
    if result.dim() == 0:
        raise refusals.Failed(
            pb_utils.TritonError.INVALID_ARG, f"output '{output.name}' is a scalar which is not supported."
        )


def _tensor(name: str, value: Any) -> Any:
    """A response's tensor. Triton copies it into its shared memory once; nothing is copied here but for odd layouts."""
    value = value.detach().cpu().contiguous()
    return pb_utils.Tensor.from_dlpack(name, torch.utils.dlpack.to_dlpack(value))
