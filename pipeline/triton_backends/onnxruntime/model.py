"""What Triton runs for a model of the `onnxruntime` backend: one process an instance, one run a batch.

Triton imports this file as the module `model`, with the folder `pipeline` of this package copied beside it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before site-packages: the copy beside this file is the one that the server's fingerprint covers.
sys.path.insert(0, str(Path(__file__).parent))

import onnxruntime
import triton_python_backend_utils as pb_utils

from pipeline.triton_backends import arrays, cores, named, refusals, serving
from pipeline.triton_backends.onnxruntime import parameters

_KINDS = {"seq": "SEQUENCE", "map": "MAP", "sparse_tensor": "SPARSETENSOR", "opaque": "OPAQUE"}
_SAID = re.compile(r"\[ONNXRuntimeError\] : (-?[0-9]+) : \w+ : (.*)", re.DOTALL)


class TritonPythonModel(serving.Model):
    """One instance of an ONNX model."""

    def load(self, config: dict[str, Any], args: dict[str, str]) -> None:
        """Opens a session on the version's file and matches its tensors to the config."""
        chosen = parameters.parse(config)
        threads = chosen.intra_op or cores.threads(config, cores.available())
        path = serving.file(config, "model.onnx")
        if path.is_dir():
            path /= "model.onnx"
        if not path.exists():
            text = f"unable to find '{path}' for model instance '{config['name']}'"
            raise refusals.Refused(refusals.UNAVAILABLE, text)
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), _options(chosen, threads), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise refusals.Refused(refusals.INTERNAL, _said(error)) from None
        initializers = _found(self._session.get_overridable_initializers())
        self._inputs = named.inputs(config, _found(self._session.get_inputs()), initializers, parameters.RULES)
        self._outputs = named.outputs(config, _found(self._session.get_outputs()), parameters.RULES)
        self._names = [output.name for output in self._outputs]
        self._run_options = onnxruntime.RunOptions()
        for key, value in chosen.run.items():
            self._run_options.add_run_config_entry(key, value)
        text = f"{threads} intra-op and {chosen.inter_op or threads} inter-op threads"
        pb_utils.Logger.log_info(f"model instance '{args['model_instance_name']}' has {text}")

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        """One run over the requests' rows."""
        return arrays.answer(requests, self._inputs, self._outputs, self._run)

    def _run(self, fed: dict[str, Any]) -> Sequence[Any]:
        try:
            read = {name: _text(value) if value.dtype == object else value for name, value in fed.items()}
            found: Sequence[Any] = self._session.run(self._names, read, self._run_options)
        except Exception as error:
            raise refusals.Failed(pb_utils.TritonError.INTERNAL, _said(error)) from None
        return found


def _text(value: Any) -> Any:
    """Texts as ONNX Runtime takes them: of bytes it would make their Python form."""
    texts = [each.decode("utf-8", "surrogateescape") for each in value.ravel()]
    return pb_utils.np.array(texts, dtype=object).reshape(value.shape)


def _options(chosen: parameters.Parameters, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, chosen.level)
    options.execution_mode = getattr(onnxruntime.ExecutionMode, chosen.mode)
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = chosen.inter_op or threads
    if chosen.mem_arena is not None:
        options.enable_cpu_mem_arena = chosen.mem_arena
    if chosen.mem_pattern is not None:
        options.enable_mem_pattern = chosen.mem_pattern
    for key, value in chosen.entries.items():
        options.add_session_config_entry(key, value)
    return options


def _found(tensors: Sequence[Any]) -> dict[str, named.Found]:
    """The session's tensors in the config's words; whatever is no tensor is refused."""
    found = {}
    for tensor in tensors:
        if not tensor.type.startswith("tensor("):
            kind = _KINDS.get(tensor.type.partition("(")[0], "UNKNOWN")
            text = f"Unsupported ONNX Type 'ONNX_TYPE_{kind}' for I/O '{tensor.name}', expected 'ONNX_TYPE_TENSOR'."
            raise refusals.Refused(refusals.UNSUPPORTED, text)
        shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
        found[tensor.name] = named.Found(parameters.TYPES.get(tensor.type, "TYPE_INVALID"), shape)
    return found


def _said(error: Exception) -> str:
    """ONNX Runtime's words as the C++ backend passes them on."""
    match = _SAID.match(str(error))
    return f"onnx runtime error {match[1]}: {match[2]}" if match else f"onnx runtime error: {error}"
