"""ModelConfig's fields: every fault of `config:` at once, by Triton's own protobuf."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.core import fields

GOOD: list[dict[str, Any]] = [
    {},
    {"dynamic_batching": {}},
    {"dynamic_batching": {"priority_queue_policy": {"1": {"timeout_action": "DELAY"}}, "priority_levels": 2}},
    {"instance_group": [{"kind": "KIND_CPU", "count": 2, "gpus": [0, 1]}]},
    {"metric_tags": {"a": "b"}, "cc_model_filenames": {"7.5": "x"}},
    {"model_warmup": [{"name": "w", "batch_size": 1, "inputs": {"x": {"data_type": "TYPE_FP32", "dims": [4]}}}]},
    {"model_transaction_policy": {"decoupled": True}, "response_cache": {"enable": True}},
]
BAD: list[tuple[dict[str, Any], list[tuple[str | int, ...]]]] = [
    ({"dynamicBatching": {}}, [("dynamicBatching",)]),
    ({"dynamic_batching": None}, [("dynamic_batching",)]),
    ({"dynamic_batching": []}, [("dynamic_batching",)]),
    ({"instance_group": {}}, [("instance_group",)]),
    (
        {"instance_group": [{"kind": 2}, {"count": True}]},
        [("instance_group", 0, "kind"), ("instance_group", 1, "count")],
    ),
    (
        {"dynamic_batching": {"max_queue_delay_microseconds": -1}},
        [("dynamic_batching", "max_queue_delay_microseconds")],
    ),
    (
        {"dynamic_batching": {"max_queue_delay_microseconds": "1"}},
        [("dynamic_batching", "max_queue_delay_microseconds")],
    ),
    ({"metric_tags": {"a": 1}}, [("metric_tags", "a")]),
    ({"dynamic_batching": {"priority_queue_policy": {"x": {}}}}, [("dynamic_batching", "priority_queue_policy", "x")]),
    ({"dynamic_batching": {}, "sequence_batching": {}}, [("sequence_batching",)]),
]


@pytest.mark.parametrize("data", GOOD, ids=str)
def test_good(data: dict[str, Any]) -> None:
    """What Triton's protobuf takes has no faults."""
    assert fields.check(data) == []


@pytest.mark.parametrize(("data", "paths"), BAD, ids=str)
def test_bad(data: dict[str, Any], paths: list[tuple[str | int, ...]]) -> None:
    """Each unknown field and each value that does not fit is named by its path."""
    assert [path for path, _, _ in fields.check(data)] == paths
