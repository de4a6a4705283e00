"""What Triton runs for a model of the `openvino` backend: one process an instance, one inference a batch.

Triton imports this file as the module `model`, with the folder `pipeline` of this package copied beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before site-packages: the copy beside this file is the one that the server's fingerprint covers.
sys.path.insert(0, str(Path(__file__).parent))

import openvino
import triton_python_backend_utils as pb_utils

from pipeline.triton_backends import arrays, cores, named, refusals, serving
from pipeline.triton_backends.openvino import parameters

_ELEMENTS = {triton: name for name, triton in parameters.TYPES.items()}


class TritonPythonModel(serving.Model):
    """One instance of an OpenVINO model."""

    def load(self, config: dict[str, Any], args: dict[str, str]) -> None:
        """Reads the version's file, matches its tensors to the config, and compiles it for the CPU."""
        if args["model_instance_kind"] != "CPU":
            text = f"unable to load model '{config['name']}', Triton openVINO backend supports only CPU device"
            raise refusals.Refused(refusals.INVALID, text)
        chosen = parameters.parse(config)
        self._most = 0 if chosen.padding else int(config.get("max_batch_size", 0))
        path = serving.file(config, "model.xml")
        if not path.exists():
            text = f"unable to find '{path}' for model '{config['name']}'"
            raise refusals.Refused(refusals.UNAVAILABLE, text)
        threads = {"INFERENCE_NUM_THREADS": cores.threads(config, cores.available())}
        try:
            self._compile(config, chosen, path, {**threads, **chosen.properties})
        except RuntimeError as error:
            raise refusals.Refused(refusals.INTERNAL, f"openvino error in loading model: {error}") from None
        used = self._request.get_compiled_model().get_property("INFERENCE_NUM_THREADS")
        pb_utils.Logger.log_info(f"model instance '{args['model_instance_name']}' has {used} threads")

    def _compile(
        self, config: dict[str, Any], chosen: parameters.Parameters, path: Path, properties: dict[str, Any]
    ) -> None:
        core = openvino.Core()
        if chosen.extension:
            core.add_extension(chosen.extension)
        model = core.read_model(str(path))
        if chosen.reshape:
            model.reshape({item["name"]: _whole(config, item) for item in config.get("input", [])})
        found = [{each.get_any_name(): _found(each) for each in side} for side in (model.inputs, model.outputs)]
        self._inputs = named.inputs(config, found[0], {}, parameters.RULES)
        self._outputs = named.outputs(config, found[1], parameters.RULES)
        self._names = [output.name for output in self._outputs]
        self._request = core.compile_model(self._converted(model), "CPU", properties).create_infer_request()

    def _converted(self, model: Any) -> Any:
        """The model with the config's types at its ends, whatever its own are."""
        steps = openvino.preprocess.PrePostProcessor(model)
        for tensor in self._inputs:
            steps.input(tensor.name).tensor().set_element_type(getattr(openvino.Type, _ELEMENTS[tensor.dtype]))
        for tensor in self._outputs:
            steps.output(tensor.name).tensor().set_element_type(getattr(openvino.Type, _ELEMENTS[tensor.dtype]))
        return steps.build()

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        """One inference over the requests' rows."""
        return arrays.answer(requests, self._inputs, self._outputs, self._run)

    def _run(self, fed: dict[str, Any]) -> Sequence[Any]:
        rows = next(iter(fed.values())).shape[0] if self._most else 0
        if rows != self._most:
            text = f"expected requests with batch size '{self._most}', got '{rows}'... this error can be avoided by"
            more = "setting 'ENABLE_BATCH_PADDING' parameter in model configuration to 'YES' at a performance cost."
            raise refusals.Failed(pb_utils.TritonError.INTERNAL, f"{text} {more}")
        try:
            self._request.infer(fed, share_inputs=True)
        except RuntimeError as error:
            raise refusals.Failed(
                pb_utils.TritonError.INTERNAL, f"openvino error in running inference: {error}"
            ) from None
        return [self._request.get_tensor(name).data.copy() for name in self._names]


def _whole(config: dict[str, Any], item: dict[str, Any]) -> Any:
    """The config's whole shape of an input: the batch axis is Triton's, of any size."""
    batch = [-1] if config.get("max_batch_size", 0) else []
    return openvino.PartialShape([*batch, *(int(size) for size in item.get("dims", []))])


def _found(tensor: Any) -> named.Found:
    shape = tuple(size.get_length() if size.is_static else -1 for size in tensor.get_partial_shape())
    return named.Found(parameters.TYPES.get(tensor.get_element_type().get_type_name(), "TYPE_INVALID"), shape)
