"""How alike two representations of the same examples are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nc_keras.arguments import real_array


def cka(a: Any, b: Any) -> float:
    """Computes the linear centred kernel alignment of two representations.

    `||B' A||^2 / (||A' A|| ||B' B||)` of features whose mean is subtracted.
    It is 1 for features that differ by a rotation and a factor, and 0 for
    those that are not correlated.

    Example:

    >>> a = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    >>> round(nc_keras.kernel.cka(a, 3 * a[:, ::-1]), 12)
    1.0

    Args:
        a: Array of shape `(N, D)`, features of `N` examples.
        b: Array of shape `(N, E)`, of the same examples.

    Returns:
        Float in `[0, 1]`, or NaN if one of them is constant.

    Raises:
        ValueError: If the arrays are not finite, or of other shapes.

    Reference:

    - [Kornblith et al., 2019](https://arxiv.org/abs/1905.00414), equation 5.
    """
    a, b = (_centred(array, name) for array, name in ((a, "`a`"), (b, "`b`")))
    if len(a) != len(b):
        raise ValueError(
            "Both arrays must be of the same examples. "
            f"Received: {len(a)} and {len(b)} rows."
        )
    if max(a.shape[1], b.shape[1]) <= len(a):
        inner = np.sum((b.T @ a) ** 2)
        norms = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    else:  # The same through the pairs of examples.
        of_a, of_b = a @ a.T, b @ b.T
        inner = np.sum(of_a * of_b)
        norms = np.linalg.norm(of_a) * np.linalg.norm(of_b)
    return float(inner / norms) if norms else math.nan


def _centred(array, name):
    array = np.asarray(real_array(array, name), dtype="float64")
    if array.ndim != 2 or not np.isfinite(array).all() or not len(array):
        raise ValueError(
            f"{name} must be finite, of shape (N, D). "
            f"Received: an array of shape {array.shape}."
        )
    return array - array.mean(axis=0)
