"""A live server held against the spec and the lock: digests, configs, versions, and the tensors that it declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core import config, errors, findings, spec
from pipeline.edges import triton
from pipeline.stages.verify.claims import About, Claim

_TYPES = {"BYTES": "STRING"}  # what the protocol calls TYPE_STRING


def differences(client: triton.Client, model: spec.Model, claim: Claim) -> Iterator[findings.Finding]:
    """How the live config and metadata of a model differ from the lock and the spec."""
    about = About(model.name)
    try:
        live = client.config(model.name)
        digest = client.digest(model.name)
        ready = sorted(
            each.version or 0 for each in client.index() if each.name == model.name and each.state == "READY"
        )
        metadata = {version: client.metadata(model.name, version) for version in spec.served_versions(model)}
    except errors.PipelineError as error:
        yield about.finding("live-model", error.message, "Run `serve`, and read the server's log.")
        return
    if digest != claim.digest:
        msg = f"the server serves the digest {digest}, the lock has {claim.digest}"
        yield about.finding("live-digest", msg, "Run `apply`, which serves what the lock says.")
    for path, wanted, got in config.differences(config.model_config(model, digest=claim.digest), live):
        if not path.startswith(f"parameters.{triton.DIGEST}"):  # told above
            msg = f"the live config has {path} {got!r}, expected {wanted!r}"
            yield about.finding("live-config", msg, "Run `apply`, which serves what the spec says.")
    if ready != list(spec.served_versions(model)):
        msg = f"the versions {ready} are ready, declared are {list(spec.served_versions(model))}"
        yield about.finding("live-versions", msg, "Run `apply`, which serves what the spec says.")
    for version, found in metadata.items():
        for line in _metadata(model, found):
            yield About(model.name, version).finding("live-metadata", line, "Run `apply` and verify again.")


def _metadata(model: spec.Model, live: Mapping[str, Any]) -> Iterator[str]:
    """Where the live tensors are not the declared ones; Triton writes -1 for a size that may vary."""
    sides: tuple[tuple[str, Mapping[str, spec.Input | spec.Output]], ...]
    sides = (("inputs", model.inputs), ("outputs", model.outputs))
    for side, declared in sides:
        wanted = {name: (tensor.dtype, _sizes(tensor.shape)) for name, tensor in declared.items()}
        got = {item["name"]: (_TYPES.get(item["datatype"], item["datatype"]), [int(size) for size in item["shape"]])
               for item in live.get(side, ())}  # fmt: skip
        for name in sorted(wanted.keys() | got.keys()):
            if wanted.get(name) != got.get(name):
                yield f"{side}: {name} is {_tensor(got.get(name))}, declared {_tensor(wanted.get(name))}"


def _sizes(shape: spec.Shape) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in shape]


def _tensor(tensor: tuple[str, list[int]] | None) -> str:
    return "missing" if tensor is None else f"{tensor[0]} {tensor[1]}"
