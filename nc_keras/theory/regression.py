"""The minimiser of unconstrained features under a regression."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from nc_keras.arguments import checked
from nc_keras.arguments import real_array


@dataclasses.dataclass(frozen=True)
class RegressionMinimizer:
    """What is least of `regression`.

    Attributes:
        gram: `(n, n)` array, `W W'` of the head.
        loss: Float, the value of the objective.
        rank: Integer, how many directions of the targets are fitted.

    Args:
        gram: See the attributes; so for the other arguments.
        loss: Float.
        rank: Integer.
    """

    gram: np.ndarray
    loss: float
    rank: int


@checked(targets="array", weight_decay="number", feature_decay="number")
def regression(
    targets: Any, weight_decay: float, feature_decay: float
) -> RegressionMinimizer:
    """The minimiser of a regression over unconstrained features.

    Of `(1 / 2N) sum |W h + b - y|² + (lh / 2N) sum |h|² + (lw / 2) |W|²`:
    `W W' = sqrt(lh / lw) [S^(1/2) - sqrt(lh lw) I]_+`, `S` the covariance of
    the targets. What varies less than `sqrt(lh lw)` is not fitted: there the
    features collapse to nothing.

    Example:

    >>> y = np.array([[2.0, 0.1], [-2.0, 0.1], [2.0, -0.1], [-2.0, -0.1]])
    >>> best = nc_keras.theory.regression(y, 0.5, 0.5)
    >>> best.rank, best.gram.round(3).tolist()
    (1, [[1.5, 0.0], [0.0, 0.0]])

    Args:
        targets: Array of shape `(N, n)`.
        weight_decay: Float, `lw`, positive.
        feature_decay: Float, `lh`, positive.

    Returns:
        A `RegressionMinimizer`.

    Raises:
        ValueError: If targets are no matrix of finite numbers, or a decay is
            not positive.

    Reference:

    - [Andriopoulos et al., 2024](https://arxiv.org/abs/2409.04180), whose
      closed form with both regimes is derived here, and checked by
      optimisation.
    """
    y = real_array(targets, "`targets`").astype("float64")
    if y.ndim != 2 or not y.size or not np.isfinite(y).all():
        raise ValueError(
            "`targets` must be a matrix of finite numbers. "
            f"Received: targets of shape {y.shape}."
        )
    if not (weight_decay > 0 and feature_decay > 0):
        raise ValueError(
            "Without decay of head and features there is no minimiser. "
            f"Received: weight_decay={weight_decay}, "
            f"feature_decay={feature_decay}."
        )
    covariance = np.atleast_2d(np.cov(y.T, bias=True))
    values, vectors = np.linalg.eigh(covariance)
    deviations = np.sqrt(np.maximum(values, 0.0))
    least = math.sqrt(weight_decay * feature_decay)
    fitted = np.maximum(deviations - least, 0.0)
    gram = (vectors * fitted) @ vectors.T
    lost = np.sum(np.minimum(deviations, least) ** 2) / 2
    return RegressionMinimizer(
        gram=math.sqrt(feature_decay / weight_decay) * gram,
        loss=float(lost + least * fitted.sum()),
        rank=int((fitted > 0).sum()),
    )
