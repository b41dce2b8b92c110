"""From the statistics of a last layer to the values of metrics."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from nc_keras.blas import one_thread_for
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.pair_means import reduce_pairs
from nc_keras.measuring.registry import Metric
from nc_keras.measuring.validation import present_classes


def layer_of(
    statistics: ClassStatistics,
    kernel: np.ndarray | None = None,
    bias: Any = 0.0,
    missing: str = "raise",
    **others: Any,
) -> LastLayer:
    """Returns the last layer with the classes that have examples.

    Args:
        statistics: The `ClassStatistics`.
        kernel: Array of shape `(C, D)` or `None`.
        bias: Array of shape `(C,)`, or zero.
        missing: As in `collapse_metrics`.
        **others: More attributes of the `LastLayer`.
    """
    present = present_classes(statistics.counts, missing)
    everyone = len(present) == len(statistics.counts)
    part = slice(None) if everyone else present
    counts = statistics.counts[part]
    layer = LastLayer(
        means=statistics.means[part],
        variances=statistics.squares[part] / counts,
        counts=counts,
        kernel=kernel,
        bias=bias,
        classes=None if everyone else present,
        **others,
    )
    if statistics.scatter is None:
        return layer
    layer = layer.replaced(scatter=statistics.scatter / counts.sum())
    return with_principal_variances(layer)


def with_principal_variances(layer: LastLayer) -> LastLayer:
    """Returns the layer with what its scatter says of the directions."""
    _, directions = layer.principal_directions
    variances = layer.within_variance(directions)
    return layer.replaced(principal_variances=variances)


def available(layer: LastLayer) -> list[str]:
    """Returns which needs of metrics a layer without examples can serve."""
    needs = ["kernel", "train_means", "class_sizes", "scatter"]
    needs += ["principal_variances"]
    return [n for n in needs if getattr(layer, n) is not None]


def evaluate(
    layer: LastLayer,
    metrics: list[Metric],
    of_examples: dict[str, Any] | None = None,
    pairs: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Evaluates metrics; where a formula is 0 / 0 the value is NaN.

    Args:
        layer: The `LastLayer`.
        metrics: The `Metric`s.
        of_examples: Dictionary with the values of those over examples.
        pairs: As in `collapse_metrics`.
        progress: As in `Measurement.values`.

    Returns:
        Dictionary from tags to floats or arrays; to tensors where the layer
        is on the device.
    """
    values = dict(of_examples or {})
    width = min(layer.num_classes, layer.dim)
    with (
        np.errstate(divide="ignore", invalid="ignore", over="ignore"),
        one_thread_for(layer.num_classes * layer.dim * width),
    ):
        for metric in metrics:
            if metric.over == "layer":
                values[metric.tag] = metric.function(layer)
        for part, over in _layers_with_pairs(layer):
            chosen = [m for m in metrics if m.over in over]
            values |= reduce_pairs(part, chosen, pairs, progress)
    ordered = {}
    for metric in metrics:
        for tag in (metric.tag, f"{metric.tag}_standard_error"):
            if tag in values:
                ordered[tag] = values[tag]
    if layer.xp is not np:
        return ordered
    return {tag: _plain(value) for tag, value in ordered.items()}


def _layers_with_pairs(layer):
    """The pairs of a metric: of classes with examples, or of all rows."""
    if layer.classes is None or layer.kernel is None:
        return [(layer, ("pairs", "weight_pairs"))]
    rows = dataclasses.replace(
        layer,
        means=layer.kernel,
        variances=np.zeros(len(layer.kernel)),
        classes=None,
    )
    return [(layer, ("pairs",)), (rows, ("weight_pairs",))]


def _plain(value):
    value = np.asarray(value)
    return float(value) if value.ndim == 0 else value
