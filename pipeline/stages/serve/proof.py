"""What a server must show before it counts: every wanted version READY with its digest, and answering. And why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.core import build, errors, findings, serverlog, spec, state
from pipeline.edges import record, repository, runtimes, triton


def prove(
    running: record.Running,
    client: triton.Client,
    declared: spec.Spec,
    wanted: Mapping[str, state.Live],
) -> None:
    """Every wanted version is READY with the wanted digest, and answers. Raises PipelineError."""
    known = {(status.name, status.version): status for status in client.index()}
    found: list[findings.Finding] = []
    for name, model in wanted.items():
        for version in model.versions:
            status = known.get((name, version)) or known.get((name, None))
            if status is None or status.state != "READY":
                why = serverlog.reason(status.reason) if status else ""
                found.append(finding(name, version, why or "Triton does not have it"))
    if found:
        raise failed(running, [*found, *from_log(running, {each.model for each in found})], "")
    for name, model in wanted.items():
        digest = client.digest(name)
        if digest != model.digest:
            why = f"the live config has the digest {digest}, expected {model.digest}"
            found.append(finding(name, None, why, rule="stale-model"))
            continue
        found += [answer for version in model.versions if (answer := _ask(client, declared, name, version))]
    if found:
        raise failed(running, found, "")


def remember(
    running: record.Running, client: triton.Client, folder: Path, names: Iterable[str], gone: Iterable[str] = ()
) -> record.Running:
    """Writes down what was loaded and seen to answer, so that a later look tells what was changed since."""
    seen = {
        name: record.Loaded(folder=repository.identity(folder, name), config=build.digest(client.config(name)))
        for name in names
    }
    kept = {name: known for name, known in running.loaded.items() if name not in set(gone)}
    return record.remember(running, kept | seen)


def _ask(client: triton.Client, declared: spec.Spec, name: str, version: int) -> findings.Finding | None:
    """Asks one version with the smallest tensors that the spec allows; nothing of a model that it does not know, or
    that cannot be asked."""
    model = declared.models.get(name)
    if model is None or model.golden.none is not None:
        return None
    sizes = {axis: bounds.min for axis, bounds in model.axes.items()}
    tensors = [
        triton.Question(
            name=key,
            dtype=tensor.dtype,
            shape=tuple(size if isinstance(size, int) else sizes.get(size, 1) for size in tensor.shape),
        )
        for key, tensor in model.inputs.items()
    ]
    try:
        client.answers(name, version, tensors)
    except errors.PipelineError as error:
        return finding(name, version, serverlog.reason(error.message), rule="model-does-not-answer")
    return None


def from_log(running: record.Running, models: Iterable[str | None] | None = None) -> list[findings.Finding]:
    """The reasons in the server's log; with `models`, only those about the configs of these."""
    found = serverlog.faults(runtimes.of(running).log(running))
    if models is not None:
        asked = set(models)
        found = tuple(fault for fault in found if fault.model in asked and fault.version is None)
    return [finding(fault.model, fault.version, fault.reason) for fault in found]


def finding(model: str | None, version: int | None, why: str, rule: str = "model-not-served") -> findings.Finding:
    """Why a model, a version of it, or the server (both None) does not count."""
    return findings.Finding(rule=rule, message=why, model=model, version=version)


def failed(running: record.Running, found: Iterable[findings.Finding], message: str) -> errors.PipelineError:
    """The error with all findings, and the log's last lines where there is no finding to show."""
    found = tuple(dict.fromkeys(found))
    first = found[0] if found else None
    if first is not None and first.model is not None:
        place = f"{first.model} version {first.version}" if first.version else first.model
        message = f"Triton does not serve {place}: {first.message}"
    elif first is not None:
        message = f"{message}: {first.message}"
    trouble = runtimes.trouble(running)
    message = f"{message}: {trouble}" if trouble else message
    details = () if found else serverlog.tail(runtimes.of(running).log(running))
    hint = f"The whole log is {running.log}."
    return errors.PipelineError(message, hint=hint, details=details, found=found)
