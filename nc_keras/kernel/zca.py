"""Whitening of examples, as before regression with a kernel."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from nc_keras.arguments import checked
from nc_keras.arguments import real_array


@dataclasses.dataclass(frozen=True)
class Whitening:
    """A symmetric matrix that makes the features of examples uncorrelated.

    Example:

    >>> x = np.array([[2.0, 0], [-2.0, 0], [0, 1.0], [0, -1.0]])
    >>> whitening = nc_keras.kernel.zca(x)
    >>> np.cov(whitening(x).T, bias=True).round(3).tolist()
    [[1.0, 0.0], [0.0, 1.0]]

    Args:
        mean: Array of shape `(D,)`.
        matrix: Array of shape `(D, D)`.
    """

    mean: np.ndarray
    matrix: np.ndarray

    def __call__(self, x: Any) -> np.ndarray:
        """Whitens examples of shape `(N, ...)`, float64, in their shape."""
        x = np.asarray(x, dtype="float64")
        rows = x.reshape(len(x), -1)
        if rows.shape[1] != len(self.mean):
            raise ValueError(
                f"Examples of {len(self.mean)} features were whitened. "
                f"Received: examples of shape {x.shape}."
            )
        return ((rows - self.mean) @ self.matrix).reshape(x.shape)


@checked(epsilon="number")
def zca(x: Any, epsilon: float = 0.0) -> Whitening:
    """Finds the whitening of examples, with a regulariser.

    `W = V (S + epsilon mean(S))^(-1/2) V'`, where `V S V'` is the covariance.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(20, 3)) * [1.0, 2.0, 3.0]
    >>> nc_keras.kernel.zca(x, epsilon=0.1)(x).shape
    (20, 3)

    Args:
        x: Array of shape `(N, ...)`, the training examples.
        epsilon: Float, not negative: how much of the mean variance is added
            to each, so that directions of no variance stay small.

    Returns:
        A `Whitening`, to be called on these and other examples.

    Raises:
        ValueError: If examples do not vary in some direction and `epsilon` is
            0, or are not finite.

    Reference:

    - [Lee et al., 2020](https://arxiv.org/abs/2007.15801).
    """
    array = real_array(x, "`x`")
    if array.ndim < 2 or not array.size or not np.isfinite(array).all():
        raise ValueError(
            "`x` must be finite, of shape (N, ...), and not empty. "
            f"Received: x of shape {array.shape}."
        )
    rows = array.reshape(len(array), -1).astype("float64")
    mean = rows.mean(axis=0)
    values, vectors = np.linalg.eigh(
        np.cov(rows.T, bias=True).reshape(rows.shape[1], rows.shape[1])
    )
    values = np.maximum(values, 0) + epsilon * values.mean()
    least = len(values) * np.finfo(float).eps * values[-1]
    if not epsilon >= 0 or not values[0] > least:
        raise ValueError(
            "Some direction has no variance, or `epsilon` is negative: "
            "choose a positive `epsilon`, such as 1e-4. "
            f"Received: {epsilon=}, variances from {values[0]:.3g} to "
            f"{values[-1]:.3g}."
        )
    return Whitening(mean, (vectors / np.sqrt(values)) @ vectors.T)
