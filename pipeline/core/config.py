"""A model's config.pbtxt: from the spec to plain data, and between plain data and text, through Triton's own protobuf.

Plain data has protobuf field names and enum names. Protobuf is imported inside the functions that need it, since a
plan of an up-to-date tree needs none of them.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.core import backends, errors, platforms, spec, warmup

DIGEST = "pipeline_digest"
TYPED = {
    "name": "it is the model's key",
    "platform": "it follows from `export`",
    "backend": "it follows from `export`",
    "max_batch_size": "by `max_batch_size` of the model",
    "input": "by `inputs` of the model",
    "output": "by `outputs` of the model",
    "version_policy": "by `version_policy` of the model",
    "default_model_filename": "it follows from `export`",
}
"""Fields that the spec says elsewhere, and where: `config:` may not say them again."""
OPEN = frozenset({"platform", "backend", "default_model_filename"})
"""Those of them that `config:` says where every version is a finished `file`: no export decides them."""
TENSORS = {
    "name": "it is the tensor's key",
    "data_type": "by the tensor's `dtype`",
    "dims": "by the tensor's `shape`",
}
"""The same for the `config:` of a tensor."""

Data = dict[str, Any]


def model_config(model: spec.Model, *, digest: str | None, rows: warmup.Rows | None = None) -> Data:
    """What the config of a model says. `digest` becomes the parameter `pipeline_digest`; None leaves it out.

    `rows` are the shapes of the goldens' rows, which a warm-up with them needs.
    """
    data: Data = {
        "name": model.name,
        **_platform(model),
        "max_batch_size": model.max_batch_size,
        "input": [_tensor(name, tensor, model) for name, tensor in model.inputs.items()],
        "output": [_tensor(name, tensor, model) for name, tensor in model.outputs.items()],
    }
    policy = _version_policy(model.version_policy)
    if policy is not None:
        data["version_policy"] = policy
    given = platforms.defaults(model)
    data |= {**given, **model.config}
    if "parameters" in given:
        data["parameters"] = {**given["parameters"], **model.config.get("parameters", {})}
    if model.warmup is not None:
        data["model_warmup"] = warmup.samples(model, rows or {})
    if digest is not None:
        data["parameters"] = {**data.get("parameters", {}), DIGEST: {"string_value": digest}}
    return data


def _platform(model: spec.Model) -> Data:
    """What runs the model. Of a finished folder, the config alone says so, or the names of its files."""
    if spec.is_ensemble(model):
        return {"platform": backends.ENSEMBLE}
    said = "platform" in model.config or "backend" in model.config
    if said or spec.has_folders(model):
        return {}
    known = platforms.of_model(model)
    return {"platform": known.platform} if known.platform else {"backend": known.backend}


def _tensor(name: str, tensor: spec.Input | spec.Output, model: spec.Model) -> Data:
    """The batch axis leaves `dims` where Triton adds it by itself; a named axis may have any size."""
    shape = tensor.shape[1:] if model.max_batch_size > 0 else tensor.shape
    dims = [size if isinstance(size, int) else -1 for size in shape]
    kind = "TYPE_STRING" if tensor.dtype == "STRING" else f"TYPE_{tensor.dtype}"
    return {"name": name, "data_type": kind, "dims": dims, **tensor.config}


def _version_policy(policy: spec.VersionPolicy | str | None) -> Data | None:
    match policy:
        case "all":
            return {"all": {}}
        case spec.VersionPolicy(specific=tuple() as chosen):
            return {"specific": {"versions": list(chosen)}}
        case spec.VersionPolicy(latest=int() as count):
            return {"latest": {"num_versions": count}}
        case _:
            return None


def dump(data: Data) -> str:
    """The text of config.pbtxt. Raises PipelineError for data that is no ModelConfig."""
    from google.protobuf import text_format  # noqa: PLC0415

    return text_format.MessageToString(_message(data), as_utf8=True)


def parse(text: str) -> Data:
    """The plain data of a config.pbtxt. Raises PipelineError, with the line, for text that Triton could not read."""
    from google.protobuf import text_format  # noqa: PLC0415

    message = protobuf().ModelConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        msg = f"config.pbtxt is no ModelConfig: {error}"
        raise errors.PipelineError(msg, hint="Run `assemble`: it writes the config anew from the spec.") from error
    return _plain(message)


def _plain(message: Any) -> Data:  # noqa: ANN401 - a class that protobuf makes at run time
    """The fields that are set, integers as integers (protobuf's own JSON has 64-bit ones as text), maps sorted."""
    data: Data = {}
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name["value"]
            data[field.name] = {str(key): _value(entry, value[key]) for key in sorted(value)}
        elif field.is_repeated:
            data[field.name] = [_value(field, each) for each in value]
        else:
            data[field.name] = _value(field, value)
    return data


def _value(field: Any, value: Any) -> Any:  # noqa: ANN401 - protobuf's descriptors
    if field.message_type is not None:
        return _plain(value)
    named = field.enum_type.values_by_number.get(value) if field.enum_type is not None else None
    return named.name if named else value


def _message(data: Data, *, ignore_unknown: bool = False) -> Any:  # noqa: ANN401 - a class that protobuf makes at run time
    from google.protobuf import json_format  # noqa: PLC0415

    try:
        return json_format.ParseDict(data, protobuf().ModelConfig(), ignore_unknown_fields=ignore_unknown)
    except (json_format.ParseError, RecursionError) as error:
        msg = str(error).replace('Message type "inference.ModelConfig" has no field', "ModelConfig has no field")
        raise errors.PipelineError(msg, hint="See Triton's model_config.proto for the fields.") from error


def normalize(data: Data) -> Data:
    """`data` in its one form: fields that Triton's protobuf knows, without those at protobuf's defaults.

    Unknown fields are left out: a newer server has more of them. Raises PipelineError where a value does not fit.
    """
    return _plain(_message(data, ignore_unknown=True))


def differences(desired: Data, live: Data) -> tuple[tuple[str, Any, Any], ...]:
    """Where two configs differ: path, desired and live value; None for absent.

    What Triton fills into a live config by itself is no difference. Measured on 24.10: the backend, the runtime and the
    file name that follow from the platform, the version policy, one instance a model, the names and kinds of instance
    groups, pinned memory, and the preferred sizes of batches.
    """
    told, got = normalize(desired), normalize(live)
    known = platforms.named(told)
    runs = (got.get("backend"), got.get("default_model_filename"))
    if known and platforms.variant(told) and runs == (known.backend, known.filename):
        got["platform"] = told["platform"]  # the same model, by the other name that the embedded server knows
    return tuple(_walk("", {**_TRITONS, **told}, {**_TRITONS, **got}, {**_FILLS, **_runs(told)}))


def _runs(data: Data) -> _Fills:
    """What Triton says of a model's backend where its config does not; anything, where it finds that by the files."""
    named = backends.backend(data)
    known = [each for each in platforms.KNOWN if each.backend == named]
    counts = (1, *(each.instances for each in (known if named else platforms.KNOWN)))
    file = backends.file(data) or (known[0].filename if known else None)
    platform = backends.ENSEMBLE if named == backends.ENSEMBLE else known[0].platform if known else None
    return {
        "platform": (platform,) if named else None,
        "backend": (named,) if named else None,
        "default_model_filename": (file,) if named and file else None,
        "instance_group[].count": counts,
    }


_TRITONS: Data = {
    "version_policy": {"latest": {"num_versions": 1}},
    "instance_group": [{}],
    "optimization": {},
}
"""What Triton takes an absent field for."""

_Fills = dict[str, tuple[object, ...] | None]
_FILLS: _Fills = {
    "runtime": None,
    "dynamic_batching.preferred_batch_size": None,
    "instance_group[].name": None,
    "instance_group[].kind": None,
    "instance_group[].gpus": None,
    "model_transaction_policy": ({},),
    "optimization.input_pinned_memory": ({"enable": True},),
    "optimization.output_pinned_memory": ({"enable": True},),
    "sequence_batching.max_sequence_idle_microseconds": (1_000_000,),
    "sequence_batching.oldest.preferred_batch_size": None,
}
"""What Triton puts there by itself, where the config says nothing; None for any value."""


def _walk(path: str, desired: object, live: object, fills: _Fills) -> Iterator[tuple[str, Any, Any]]:
    match desired, live:
        case dict(), dict():
            for name in sorted(desired.keys() | live.keys()):
                yield from _walk(f"{path}.{name}" if path else name, desired.get(name), live.get(name), fills)
        case list(), list() if len(desired) == len(live):
            for index, (first, second) in enumerate(zip(desired, live, strict=True)):
                yield from _walk(f"{path}[{index}]", first, second, fills)
        case _ if desired != live:
            fill = fills.get(re.sub(r"\[[0-9]+\]", "[]", path), ())
            if desired is not None or (fill is not None and live not in fill):
                yield path, desired, live


@functools.cache
def protobuf() -> Any:  # noqa: ANN401 - a module that protobuf generated
    """Triton's generated module, by its path: importing tritonclient.grpc would import grpc, which is not needed."""
    name = "pipeline_model_config_pb2"
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        msg = "tritonclient is not installed"
        raise errors.Unfit(msg, hint="Install requirements/core.txt, or run the nox session of this command.")
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    found = importlib.util.spec_from_loader(name, loader)
    if found is None:
        msg = f"{path} cannot be loaded"
        raise errors.Unfit(msg, hint="Install requirements/core.txt anew.")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    loader.exec_module(module)
    return module
