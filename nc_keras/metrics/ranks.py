"""Ranks of matrices."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Three ranks of a matrix.

    Attributes:
        numerical: Integer, how many singular values exceed the tolerance
            times the Frobenius norm.
        stable: Float, `sum s_i^2 / max s_i^2`.
        effective: Float, `exp(-sum p_i log p_i)` with `p_i = s_i / sum s`.

    Args:
        numerical: See the attributes; so for the other arguments.

    Example:

    >>> nc_keras.weights.ranks(np.eye(4))
    Ranks(numerical=4, stable=4.0, effective=4.0)
    """

    numerical: int
    stable: float
    effective: float


def ranks(matrix: Any, tolerance: float = 1e-3) -> Ranks:
    """Computes the ranks of a matrix from its singular values.

    Args:
        matrix: Array of shape `(rows, columns)`; or a vector of singular
            values.
        tolerance: Float in `[0, 1)`, relative to the Frobenius norm: the
            authors' code divides a matrix by that norm and then counts the
            singular values above 0.001.

    Returns:
        `Ranks`. Those of a matrix of zeros are zero.

    Raises:
        ValueError: If `matrix` is neither, or is not finite, or `tolerance`
            is out of range.

    Example:

    >>> found = nc_keras.weights.ranks(np.diag([3.0, 1.0, 1e-4]))
    >>> print(found.numerical, round(found.stable, 4))
    2 1.1111

    Reference:

    - [Galanti et al., 2022](https://arxiv.org/abs/2206.05794), numerical and
      stable rank, as in `analysis_rank.py` of TomerGalanti/LowRankBias.
    - [Roy & Vetterli, 2007](https://ieeexplore.ieee.org/document/7098875),
      effective rank.
    """
    matrix = np.asarray(matrix, "float64")
    if matrix.ndim not in (1, 2) or not np.isfinite(matrix).all():
        raise ValueError(
            "`matrix` must be a finite matrix, or a vector of singular "
            f"values. Received: an array of shape {matrix.shape}."
        )
    if not 0 <= tolerance < 1:
        raise ValueError(
            f"`tolerance` must be in [0, 1). Received: tolerance={tolerance}."
        )
    values = np.abs(matrix)
    if matrix.ndim == 2:
        values = np.linalg.svd(matrix, compute_uv=False)
    norm = np.linalg.norm(values)
    if norm == 0:
        return Ranks(0, 0.0, 0.0)
    shares = values[values > 0] / values.sum()
    return Ranks(
        numerical=int(np.sum(values > tolerance * norm)),
        stable=float((norm / values.max()) ** 2),
        effective=float(np.exp(-np.sum(shares * np.log(shares)))),
    )
