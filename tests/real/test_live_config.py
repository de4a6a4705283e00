"""What the real Triton makes of our configs: what it fills in by itself is no difference, whatever the spec asks."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.core import config, spec
from pipeline.edges import embedded, triton
from tests.real import modules, repository

pytestmark = pytest.mark.real

CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batching": {"dynamic_batching": {}},
    "delay": {"dynamic_batching": {"max_queue_delay_microseconds": 100}},
    "sizes": {"dynamic_batching": {"preferred_batch_size": [4, 8], "default_queue_policy": {"max_queue_size": 5}}},
    "priorities": {"dynamic_batching": {"priority_levels": 2, "default_priority_level": 1}},
    "group": {"instance_group": [{}]},
    "groups": {"instance_group": [{"kind": "KIND_AUTO"}, {"kind": "KIND_CPU", "name": "mine"}]},
    "optimization": {"optimization": {"priority": "PRIORITY_MAX"}, "response_cache": {}},
    "parameters": {"parameters": {"A": {"string_value": 'x"\n}'}}, "metric_tags": {"a": "b"}},
    "transaction": {"model_transaction_policy": {"decoupled": False}},
}
MODEL = spec.Model(
    name="",
    max_batch_size=8,
    inputs={"x__0": spec.Input(dtype="FP32", shape=("batch", 4))},
    outputs={"y__0": spec.Output(dtype="FP32", shape=("batch", 4))},
    axes={},
    versions={1: spec.Version(number=1, source=spec.Source(), export=spec.Export(method="trace"))},
    version_policy=None,
    golden=spec.Golden(),
    config={},
)


def _models() -> list[spec.Model]:
    models = [msgspec.structs.replace(MODEL, name=name, config=each) for name, each in CONFIGS.items()]
    policies = {"all": "all", "latest": spec.VersionPolicy(latest=1), "specific": spec.VersionPolicy(specific=(1,))}
    return models + [
        msgspec.structs.replace(MODEL, name=name, version_policy=policy) for name, policy in policies.items()
    ]


def test_live_configs(tmp_path: Path) -> None:
    """A real server's config of every model equals the desired one but for what Triton fills in by itself."""
    models = _models()
    for model in models:
        text = config.dump(config.model_config(model, digest="sha256:ab"))
        repository.write(tmp_path / "models", model.name, modules.Pair(), text)
    wanted = embedded.Launch(
        repository=tmp_path / "models",
        backends=tmp_path / "backends",
        python=Path(sys.executable),
        ports=repository.free_ports(),
        models=tuple(model.name for model in models),
    )
    client = triton.Client(port=wanted.ports.http)
    try:
        embedded.start(wanted, run=tmp_path / "run", say=lambda _: None)
        live = {model.name: _config(client, model.name) for model in models}
    finally:
        embedded.tidy(tmp_path / "run")
    for model in models:
        desired = config.model_config(model, digest="sha256:ab")
        assert config.differences(desired, live[model.name]) == (), model.name
        other = {**desired, "max_batch_size": 9}
        assert config.differences(other, live[model.name]) == (("max_batch_size", 9, 8),)


def _config(client: triton.Client, name: str) -> dict[str, Any]:
    """The live config, once the model is loaded."""
    deadline = time.monotonic() + 90
    while not client.model_ready(name, 1):
        assert time.monotonic() < deadline, f"{name} was never ready"
        time.sleep(0.2)
    return client.config(name)
