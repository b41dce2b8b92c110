"""Out-of-distribution scores of a head and the features before it.

Each is larger in distribution. NECO's is in `nc_keras.metrics.neco`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nc_keras.arguments import real_array
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.class_statistics import validate_statistics

__all__ = ["Mahalanobis", "ViM", "energy", "max_logit", "msp", "nci"]


def msp(logits: Any) -> np.ndarray:
    """The largest probability, of Hendrycks & Gimpel 2017.

    Args:
        logits: Array of shape `(N, C)`.

    Returns:
        A float64 array of shape `(N,)`.

    Example:

    >>> print(nc_keras.metrics.ood_scores.msp([[0.0, 0.0], [0.0, 99.0]]))
    [0.5 1. ]
    """
    logits = _matrix(logits, "`logits`")
    return np.exp(logits.max(axis=1) - energy(logits))


def max_logit(logits: Any) -> np.ndarray:
    """The largest logit, of Hendrycks et al. 2022.

    Args:
        logits: Array of shape `(N, C)`.

    Returns:
        A float64 array of shape `(N,)`.
    """
    return _matrix(logits, "`logits`").max(axis=1)


def energy(logits: Any) -> np.ndarray:
    """The log of the sum of exponentials, of Liu et al. 2020.

    Args:
        logits: Array of shape `(N, C)`.

    Returns:
        A float64 array of shape `(N,)`.

    Example:

    >>> print(nc_keras.metrics.ood_scores.energy([[0.0, 0.0]]).round(4))
    [0.6931]
    """
    logits = _matrix(logits, "`logits`")
    largest = logits.max(axis=1, keepdims=True)
    return largest[:, 0] + np.log(np.exp(logits - largest).sum(axis=1))


class Mahalanobis:
    """Less the squared distance to the nearest class mean, of Lee et al. 2018.

    `-min_c (h - mu_c)' Sigma_W^+ (h - mu_c)`. Directions in which features
    do not vary within classes, to rounding, do not count.

    Args:
        statistics: `ClassStatistics` of the training features, with scatter.

    Call arguments:
        features: Array of shape `(N, D)`.

    Returns:
        A float64 array of shape `(N,)`.

    Example:

    >>> train = [[-1.0, 0.0], [1.0, 0.0], [9.0, 2.0], [11.0, 2.0]]
    >>> statistics = nc_keras.metrics.ClassStatistics.from_features(
    ...     train, [0, 0, 1, 1]
    ... )
    >>> score = nc_keras.metrics.ood_scores.Mahalanobis(statistics)
    >>> print(score([[0.0, 7.0], [7.0, 0.0]]))
    [-0. -9.]
    """

    def __init__(self, statistics: ClassStatistics):
        validate_statistics(statistics, scatter=True)
        counts = statistics.counts
        if not counts.any():
            raise ValueError("Received: `statistics` of no examples.")
        values, vectors = np.linalg.eigh(statistics.scatter / counts.sum())
        kept = values > len(values) * np.finfo("float64").eps * values[-1]
        self._whitening = vectors[:, kept] / np.sqrt(values[kept])
        means = statistics.means[counts > 0]
        self._center = means.mean(axis=0)
        self._means = (means - self._center) @ self._whitening

    def __call__(self, features: Any) -> np.ndarray:
        features = _features(features, len(self._center))
        white = (features - self._center) @ self._whitening
        # One class at a time would be slow, all differences at once too large.
        squares = np.sum(self._means**2, axis=1)
        nearest = np.argmax(white @ self._means.T - squares / 2, axis=1)
        return -np.sum((white - self._means[nearest]) ** 2, axis=1)


class ViM:
    """Energy less a virtual logit, of Wang et al. 2022.

    The virtual logit is the length of what lies outside the `dim` principal
    directions of the training features about the origin `-W^+ b`, times the
    mean of the largest training logit over the mean of that length. Call
    `calibrate` with all training features, then the object with others.

    Args:
        statistics: `ClassStatistics` of the training features, with scatter.
        kernel: Array of shape `(D, C)`, the head's.
        bias: Array of shape `(C,)`, or `None`.
        dim: Integer, the number of principal directions. Defaults to half of
            `D`.

    Call arguments:
        features: Array of shape `(N, D)`.
        logits: Array of shape `(N, C)`.

    Returns:
        A float64 array of shape `(N,)`.

    Reference:

    - [Wang et al., 2022](https://arxiv.org/abs/2203.10807).
    """

    def __init__(
        self,
        statistics: ClassStatistics,
        kernel: Any,
        bias: Any = None,
        dim: int | None = None,
    ):
        validate_statistics(statistics, scatter=True)
        counts, means = statistics.counts, statistics.means
        size = means.shape[1]
        if dim is None:
            dim = size // 2
        if not isinstance(dim, int | np.integer) or not 0 <= dim < size:
            raise ValueError(
                f"`dim` must be in 0 .. {size - 1}, less than the dimension "
                f"of the features. Received: dim={dim!r}."
            )
        kernel = _matrix(kernel, "`kernel`")
        if len(kernel) != size:
            raise ValueError(
                f"`kernel` must have the shape ({size}, C). "
                f"Received: kernel of shape {kernel.shape}."
            )
        bias = _vector(bias, kernel.shape[1], "`bias`")
        self._origin = -np.linalg.pinv(kernel.T) @ bias
        shifts = (means - self._origin) * np.sqrt(counts)[:, None]
        _, vectors = np.linalg.eigh(statistics.scatter + shifts.T @ shifts)
        self._outside = vectors[:, : size - dim]
        # The sums of largest logits and of lengths.
        self.sums = np.zeros(2)

    def calibrate(self, features: Any, logits: Any) -> None:
        """Adds a batch of training features and their logits."""
        lengths = self._lengths(features)
        self.sums += [max_logit(logits).sum(), lengths.sum()]

    def __call__(self, features: Any, logits: Any) -> np.ndarray:
        if not self.sums.any():
            raise ValueError(
                "The scale of ViM's virtual logit is of the training set: "
                "call `calibrate` with its features and logits first."
            )
        logit, length = self.sums
        # Of collapsed features nothing is left outside, and there is no scale.
        alpha = logit / length if length else np.nan
        return energy(logits) - alpha * self._lengths(features)

    def _lengths(self, features):
        features = _features(features, len(self._origin))
        outside = (features - self._origin) @ self._outside
        return np.linalg.norm(outside, axis=1)


def nci(
    features: Any,
    kernel: Any,
    bias: Any = None,
    *,
    mean: Any,
    alpha: float = 1e-3,
) -> np.ndarray:
    """How far a feature lies along the row that decides, of Liu & Qin 2025.

    `w_y'(h - mean) / ||h - mean|| + alpha ||h||_1`, with `y` the class that
    the head decides for; the row is not normalised.

    Args:
        features: Array of shape `(N, D)`.
        kernel: Array of shape `(D, C)`, the head's.
        bias: Array of shape `(C,)`, or `None`.
        mean: Array of shape `(D,)`, the mean of all training features.
        alpha: Float. The authors choose from 1e-4 to 1e-1 on validation
            data.

    Returns:
        A float64 array of shape `(N,)`; 0 in place of the first term at the
        mean itself.

    Reference:

    - [Liu & Qin, 2025](https://arxiv.org/abs/2311.01479), as in their code.
    """
    kernel = _matrix(kernel, "`kernel`")
    features = _features(features, len(kernel))
    bias = _vector(bias, kernel.shape[1], "`bias`")
    decisions = np.argmax(features @ kernel + bias, axis=1)
    residuals = features - _vector(mean, len(kernel), "`mean`")
    products = np.sum(kernel.T[decisions] * residuals, axis=1)
    norms = np.linalg.norm(residuals, axis=1)
    cosines = products / np.where(norms > 0, norms, 1.0)
    return cosines + alpha * np.abs(features).sum(axis=1)


def _features(features, dim):
    features = _matrix(features, "`features`")
    if features.shape[1] != dim:
        raise ValueError(
            f"`features` must have the shape (N, {dim}). "
            f"Received: features of shape {features.shape}."
        )
    return features


def _vector(array, size, name):
    """Numbers of one axis; zeros for `None`."""
    if array is None:
        return np.zeros(size)
    array = real_array(array, name).astype("float64")
    if array.shape != (size,):
        raise ValueError(
            f"{name} must have the shape ({size},). "
            f"Received: {name} of shape {array.shape}."
        )
    return array


def _matrix(array, name):
    array = real_array(array, name).astype("float64")
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"{name} must be a matrix with a row for each example. "
            f"Received: {name} of shape {array.shape}."
        )
    return array
