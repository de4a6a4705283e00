"""The rules of model_metrics: each control names a metric, and gives the buckets of its histogram.

What Triton's core refuses at load (`ValidateModelMetrics`), and what a histogram needs beside: ascending bounds.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.core import tree
from pipeline.core.rules import subject


def faults(model: subject.Subject) -> Iterator[tree.Fault]:
    """What is wrong with a model's metrics."""
    for index, control in subject.lists(model.config.get("model_metrics", {}), "metric_control"):
        at = ("model_metrics", "metric_control", index)
        if not control.get("metric_identifier", {}).get("family"):
            yield model.fault("metric-control", "the metric has no name", *at, hint="write metric_identifier.family")
        buckets = control.get("histogram_options", {}).get("buckets", [])
        if not buckets:
            yield model.fault(
                "metric-control", "the metric has no buckets", *at, hint="write histogram_options.buckets"
            )
        elif sorted(set(buckets)) != list(buckets):
            message = f"the bounds {buckets} do not ascend"
            yield model.fault("metric-control", message, *at, "histogram_options", "buckets")
