"""What Triton runs for a model of the `tensorflow` backend: one process an instance, one call a batch.

Triton imports this file as the module `model`, with the folder `pipeline` of this package copied beside it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before site-packages: the copy beside this file is the one that the server's fingerprint covers.
sys.path.insert(0, str(Path(__file__).parent))

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf
import triton_python_backend_utils as pb_utils

from pipeline.triton_backends import arrays, cores, named, refusals, serving
from pipeline.triton_backends.tensorflow import parameters


class TritonPythonModel(serving.Model):
    """One instance of a SavedModel."""

    def load(self, config: dict[str, Any], args: dict[str, str]) -> None:
        """Loads the version's folder and matches the tensors of its signature to the config."""
        chosen = parameters.parse(config)
        threads = cores.threads(config, cores.available())
        tf.config.threading.set_intra_op_parallelism_threads(chosen.intra_op or threads)
        tf.config.threading.set_inter_op_parallelism_threads(chosen.inter_op or threads)
        path = serving.file(config, "model.savedmodel")
        if not path.exists():
            text = f"unable to find '{path}' for model instance '{config['name']}'"
            raise refusals.Refused(refusals.UNAVAILABLE, text)
        try:
            self._model = tf.saved_model.load(str(path), tags=[chosen.tag])
        except Exception as error:
            text = f"unable to load model '{config['name']}', {error}"
            raise refusals.Refused(refusals.INTERNAL, text) from None
        if chosen.signature not in self._model.signatures:
            text = f"unable to load model '{config['name']}', expected '{chosen.signature}' signature"
            raise refusals.Refused(refusals.INVALID, text)
        self._call = self._model.signatures[chosen.signature]
        self._inputs = named.inputs(config, found(self._call.structured_input_signature[1]), {}, parameters.RULES)
        self._outputs = named.outputs(config, found(self._call.structured_outputs), parameters.RULES)
        text = f"{chosen.intra_op or threads} intra-op and {chosen.inter_op or threads} inter-op threads"
        pb_utils.Logger.log_info(f"model instance '{args['model_instance_name']}' has {text}")

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        """One call over the requests' rows."""
        return arrays.answer(requests, self._inputs, self._outputs, self._run)

    def _run(self, fed: dict[str, Any]) -> Sequence[Any]:
        try:
            result = self._call(**{name: tf.constant(array) for name, array in fed.items()})
        except tf.errors.OpError as error:
            raise refusals.Failed(pb_utils.TritonError.INTERNAL, str(error.message)) from None
        return [result[output.name].numpy() for output in self._outputs]


def found(specs: dict[str, Any]) -> dict[str, named.Found]:
    """The tensors of a signature in the config's words."""
    return {
        name: named.Found(
            parameters.TYPES.get(spec.dtype.name, "TYPE_INVALID"),
            tuple(-1 if size is None else int(size) for size in spec.shape),
        )
        for name, spec in specs.items()
    }
