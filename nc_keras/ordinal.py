"""Neural collapse where classes have an order: ONC1 to ONC3."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import real_array
from nc_keras.graph import model_until
from nc_keras.labels import class_labels
from nc_keras.layers.cumulative_link import CumulativeLink
from nc_keras.layers.cumulative_link import increasing
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.metrics.collapse_metrics import collapse_metrics as of_classes

__all__ = ["collapse_metrics", "measure"]


def measure(
    model: keras.Model, x: Any, y: Any, batch_size: int | None = None
) -> dict[str, float]:
    """Measures how far ordered classes have collapsed to a line.

    Example:

    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((4,)),
    ...         keras.layers.Dense(8),
    ...         nc_keras.layers.CumulativeLink(3),
    ...     ]
    ... )
    >>> x, y = np.random.default_rng(0).normal(size=(9, 4)), np.arange(9) % 3
    >>> sorted(nc_keras.ordinal.measure(model, x, y))
    ['onc1', 'onc2', 'onc3', 'onc3_ordered']

    Args:
        model: A built `keras.Model` that ends in a
            `nc_keras.layers.CumulativeLink`.
        x: Array of `N` examples.
        y: Integer or one-hot labels.
        batch_size: Integer; by default one that suits the model.

    Returns:
        Dictionary as that of `collapse_metrics`.

    Raises:
        ValueError: If the model ends in another layer, or as
            `collapse_metrics`.
    """
    head = model.layers[-1]
    if not isinstance(head, CumulativeLink):
        raise ValueError(
            "The model must end in a `nc_keras.layers.CumulativeLink`. "
            f"Received: a last layer of type {type(head).__name__}."
        )
    before = model_until(model, head.input)
    features, labels = FeatureExtractor(model, features=before)(
        x, y, batch_size
    )
    kernel = ops.convert_to_numpy(head.kernel)
    return collapse_metrics(features, labels, kernel, head.thresholds)


def collapse_metrics(
    features: Any, labels: Any, kernel: Any, thresholds: Any
) -> dict[str, float]:
    """ONC1 to ONC3 of features, labels and an ordinal head.

    Example:

    >>> features = np.array([[-2.0, 0], [0, 0], [2.0, 0]])
    >>> found = nc_keras.ordinal.collapse_metrics(
    ...     features, [0, 1, 2], [[1.0], [0.0]], [-1.0, 1.0]
    ... )
    >>> [found[tag] for tag in ("onc2", "onc3", "onc3_ordered")]
    [0.0, 0.0, 1.0]

    Args:
        features: Array of shape `(N, D)`.
        labels: Integer or one-hot labels, in the order of the classes.
        kernel: Array of shape `(D, 1)`, the head's.
        thresholds: Array of shape `(C - 1,)`, increasing.

    Returns:
        Dictionary of floats, the first three of which go to 0:

        - `onc1`: `nc1_trace_ratio`, the spread within classes over that of
          their means;
        - `onc2`: the share of the class means `|M|²` outside the line of the
          head;
        - `onc3`: the mean distance of `z_q = w'mu_q` of the inner classes
          from the middle of their thresholds, over the mean distance of
          thresholds; NaN of two classes. It goes to 0 for a vanishing weight
          decay alone;
        - `onc3_ordered`: 1 if `z_q` increases with `q`, else 0.

    Raises:
        NonFiniteError: If a feature or weight is NaN or infinite (a
            `ValueError`).
        ValueError: If the shapes do not fit, or a class has no example.

    Reference:

    - [Ma, Obuchi & Tanaka, 2025](https://arxiv.org/abs/2506.05801), whose
      abstract states what these three measure.
    """
    thresholds = increasing(thresholds)
    classes = len(thresholds) + 1
    labels, _ = class_labels(labels, classes)
    onc1 = of_classes(
        features, labels, num_classes=classes, metrics=["nc1_trace_ratio"]
    )["nc1_trace_ratio"]
    means = ClassStatistics.from_features(features, labels, classes).means
    w = real_array(kernel, "`kernel`").astype("float64")
    if w.shape != (means.shape[1], 1) or not np.isfinite(w).all():
        raise ValueError(
            "`kernel` must be finite, of shape (D, 1). Received: kernel of "
            f"shape {w.shape}, and features of length {means.shape[1]}."
        )
    z = means @ w[:, 0]
    squares, length = np.sum(means**2), np.sum(w**2)
    along = np.sum(z**2) / length if length else 0.0
    middles = (thresholds[1:] + thresholds[:-1]) / 2
    unit = np.mean(np.diff(thresholds)) if classes > 2 else np.nan
    misses = np.abs(z[1:-1] - middles)
    return {
        "onc1": onc1,
        "onc2": float(1 - along / squares) if squares else np.nan,
        "onc3": float(misses.mean() / unit) if classes > 2 else np.nan,
        "onc3_ordered": float(np.all(np.diff(z) > 0)),
    }
