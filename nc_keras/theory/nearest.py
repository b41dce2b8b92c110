"""The simplex ETF that is nearest to class means."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from nc_keras.arguments import real_array


@dataclasses.dataclass(frozen=True, eq=False)
class NearestETF:
    """A simplex ETF in the frame of class means.

    Args:
        weights: Array of shape `(K, D)`, its vectors, of length 1.
        distance: Float, the squared distance between it and the means, both
            of Frobenius norm 1: from 0, where they are one, to 2.
    """

    weights: np.ndarray
    distance: float


def nearest_etf(means: Any) -> NearestETF:
    """Returns the simplex ETF that is nearest to class means.

    An orthogonal Procrustes problem, solved by one singular value
    decomposition. Shifts, rotations and the scale of the means change nothing
    but its frame.

    Example:

    >>> means = np.eye(4) + 7.0
    >>> found = nc_keras.theory.nearest_etf(means)
    >>> print(round(found.distance, 12))
    0.0

    Args:
        means: Array of shape `(K, D)` with `D >= K - 1`, a row per class.

    Returns:
        A `NearestETF`.

    Raises:
        ValueError: If there are fewer than two means, they are all equal, or
            `D` is too small for a simplex.

    Reference:

    - [Markou et al., 2024](https://arxiv.org/abs/2411.01248), who solve the
      problem on a manifold; the closed form is derived here.
    """
    means = real_array(means, "`means`").astype("float64")
    if means.ndim != 2 or len(means) < 2 or means.shape[1] < len(means) - 1:
        raise ValueError(
            "`means` must have the shape (K, D), with K of 2 or more and D of "
            "K - 1 or more: no simplex ETF fits into fewer dimensions. "
            f"Received: means of shape {means.shape}."
        )
    if not np.isfinite(means).all():
        raise ValueError("`means` must be finite. Received: a NaN or infinity.")
    classes = len(means)
    centred = means - means.mean(axis=0)
    norm = np.linalg.norm(centred)
    if norm <= np.finfo(float).eps * np.linalg.norm(means):
        raise ValueError(
            "The class means are all the same, and have no frame. "
            f"Received: means of shape {means.shape}."
        )
    # Centred in a basis of K - 1 vectors, so that D = K - 1 is enough.
    basis = np.linalg.svd(np.eye(classes) - 1 / classes)[0][:, : classes - 1]
    left, values, right = np.linalg.svd(
        basis.T @ centred / norm, full_matrices=False
    )
    frame = basis @ (left @ right)
    # 2 - 2 sum(values) / sqrt(K - 1), in which nothing cancels at zero.
    distance = np.sum((values - 1 / math.sqrt(classes - 1)) ** 2)
    return NearestETF(
        frame * math.sqrt(classes / (classes - 1)), float(distance)
    )
