"""Frequent and rare classes: how they are told apart, and means over them."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import numpy as np

from nc_keras.arguments import real_array

# The groups of ImageNet-LT: many above, few below, medium between.
MANY, FEW = 100, 20


def minority(sizes: Any) -> np.ndarray:
    """Which classes are rare: below the geometric mean of the extremes.

    Of a step it is the lower one, of exponential sizes the lower half. With
    classes of equal size it is none.

    Args:
        sizes: Integers of shape `(C,)`, the training examples per class. One
            without any counts as of size 1.

    Returns:
        Booleans of shape `(C,)`.
    """
    sizes = np.maximum(np.asarray(sizes, "float64"), 1.0)
    return sizes**2 < sizes.max() * sizes.min()


def group_means(
    values: Any, groups: Mapping[str, Iterable[int]]
) -> dict[str, float]:
    """The mean of one value per class over groups of classes.

    Example:

    >>> accuracies = [1.0, 0.9, 0.8, 0.1]
    >>> nc_keras.metrics.group_means(
    ...     accuracies, {"many": range(2), "few": [3], "none": []}
    ... )
    {'many': 0.95, 'few': 0.1, 'none': nan}

    Args:
        values: Array of shape `(C,)`, such as `"per_class_accuracy"`.
        groups: The classes of each group, by its name.

    Returns:
        Dictionary of floats; NaN for a group without classes.

    Raises:
        ValueError: If a class is not in `0 .. C - 1`.
    """
    values = real_array(values, "`values`").astype("float64")
    if not isinstance(groups, Mapping):
        raise ValueError(
            "`groups` must be a dictionary of the classes of each group. "
            f"Received: groups={groups!r}."
        )
    if values.ndim != 1:
        raise ValueError(
            "`values` must have one number per class. Received: values of "
            f"shape {values.shape}."
        )
    means = {}
    for name, members in groups.items():
        chosen = real_array(members, f"The group {name!r}").reshape(-1)
        is_index = (chosen == np.round(chosen)) & (chosen >= 0)
        if not (is_index & (chosen < len(values))).all():
            raise ValueError(
                f"The classes of the group {name!r} must be integers in "
                f"0 .. {len(values) - 1}. Received: {chosen.tolist()}."
            )
        means[name] = mean_or_nan(values[chosen.astype(int)])
    return means


def mean_or_nan(values: np.ndarray) -> float:
    """The mean; NaN, without a warning, of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")
