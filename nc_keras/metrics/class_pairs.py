"""From which class to which: the decisions that a perturbation changes."""

from typing import Any

import numpy as np

from nc_keras.arguments import real_array
from nc_keras.labels import class_labels

__all__ = ["class_pairs", "expected_cost"]


def class_pairs(
    labels: Any, decisions: Any, num_classes: int | None = None
) -> np.ndarray:
    """How often examples of one class are decided to be of another.

    With the decisions on perturbed images it says between which classes
    robustness is missing; with those on clean ones it is the confusion matrix
    in shares. Show it beside `nc_keras.plot.cosines`.

    Example:

    >>> model = nc_keras.models.MLP((8, 8, 1), 3, widths=(16,))
    >>> x = np.random.default_rng(0).normal(size=(6, 8, 8, 1))
    >>> moved = nc_keras.deepfool(model, x)
    >>> pairs = nc_keras.metrics.class_pairs.class_pairs(
    ...     moved.labels, moved.new_labels, 3
    ... )
    >>> pairs.shape
    (3, 3)

    Args:
        labels: Integers of shape `(N,)`, classes of the examples.
        decisions: Integers of shape `(N,)`, such as `new_labels` of
            `nc_keras.deepfool`.
        num_classes: Integer, or `None` for the largest number plus one.

    Returns:
        A float64 array of shape `(C, C)`, whose row `i` is the shares of
        examples of class `i` that go to each class; NaN without examples.

    Raises:
        ValueError: If there are not as many decisions as labels, or one is no
            class.
    """
    if num_classes is None:
        num_classes = max(class_labels(one)[1] for one in (labels, decisions))
    labels, num_classes = class_labels(labels, num_classes)
    decisions, _ = class_labels(decisions, num_classes)
    if len(labels) != len(decisions):
        raise ValueError(
            "There must be a decision for each label. "
            f"Received: {len(labels)} labels, {len(decisions)} decisions."
        )
    places = labels * num_classes + decisions
    counts = np.bincount(places, minlength=num_classes**2)
    counts = counts.reshape(num_classes, num_classes)
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)


def expected_cost(pairs: Any, costs: Any) -> float:
    """The mean over classes of what their wrong decisions cost.

    Example:

    >>> pairs, costs = [[0.9, 0.1], [0.5, 0.5]], [[0, 1], [10, 0]]
    >>> nc_keras.metrics.class_pairs.expected_cost(pairs, costs)
    2.55

    Args:
        pairs: What `class_pairs` returns, shape `(C, C)`.
        costs: Array of shape `(C, C)`, what it costs to take class `i` for
            class `j`.

    Returns:
        Float: `mean over i of sum over j of costs_ij pairs_ij`, over classes
        that have examples.

    Raises:
        ValueError: If the shapes differ, or no class has examples.
    """
    pairs = real_array(pairs, "`pairs`").astype("float64")
    costs = real_array(costs, "`costs`").astype("float64")
    if pairs.ndim != 2 or pairs.shape != costs.shape:
        raise ValueError(
            "`pairs` and `costs` must be matrices of one shape. Received: "
            f"pairs of shape {pairs.shape}, costs of shape {costs.shape}."
        )
    known = ~np.isnan(pairs).any(axis=1)
    if not known.any():
        raise ValueError("Received: `pairs` without examples of any class.")
    return float(np.mean(np.sum(pairs[known] * costs[known], axis=1)))
