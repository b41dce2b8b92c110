from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import keras
import numpy as np

from nc_keras.metrics.class_statistics import blocks


@dataclasses.dataclass(frozen=True, eq=False)
class LastLayer:
    """What a metric sees: statistics of the features, and the head.

    Arrays are NumPy's in float64, or tensors of the backend where `xp` is
    `keras.ops`; a metric that is written with `xp` runs on either.

    Attributes:
        means: `(C, D)`, the class means.
        variances: `(C,)`, the mean of `||h - mu_c||^2` over each class.
        counts: `(C,)`, the examples of each class.
        within_variance: Function from directions `(k, D)` to
            `v' Sigma_W v`, `(k,)`.
        kernel: `(C, D)`, one row of the head's weights a class, or `None`.
        classes: The rows of `kernel` that `means` belong to, where not every
            class has examples, else `None`.
        xp: `numpy` or `keras.ops`.
        examples: The `Examples` behind the statistics, or `None`.
        train_means: `(C, D)`, where the examples are not the ones that the
            network was trained on, else `None`.
    """

    means: Any
    variances: Any
    counts: Any
    within_variance: Callable[[Any], Any]
    kernel: Any = None
    classes: Any = None
    xp: Any = np
    examples: Examples | None = None
    train_means: Any = None

    @property
    def num_classes(self) -> int:
        return self.means.shape[0]

    @cached_property
    def centered_means(self) -> Any:
        """`M`: the class means minus the mean of the class means."""
        return self.means - self.xp.mean(self.means, axis=0)

    @property
    def kernel_of_means(self) -> Any:
        """The rows of `kernel` that belong to the rows of `means`."""
        if self.classes is None:
            return self.kernel
        return self.kernel[self.classes]

    @cached_property
    def principal_directions(self) -> tuple[Any, Any]:
        """Singular values `(r,)` of `M` and right vectors `(r, D)`.

        `r = min(C - 1, D)` is the rank that `M` can have; a C-th singular
        value is rounding.
        """
        _, s, vt = self.xp.linalg.svd(self.centered_means, full_matrices=False)
        rank = min(self.num_classes - 1, self.means.shape[1])
        return s[:rank], vt[:rank]

    @property
    def rounding(self) -> Any:
        """The singular value that rounding of the means alone can make."""
        size = self.xp.sqrt(self.xp.sum(self.means**2))
        epsilon = np.finfo(keras.backend.standardize_dtype(size.dtype)).eps
        return size * float(epsilon) * max(self.means.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Features and labels, and what head and class means make of them.

    Attributes:
        features: `(N, D)`, of any float dtype.
        labels: `(N,)`, int64.
        means: `(C, D)`, float64, the class means among which the nearest is
            sought: the train means. Rows of NaN are classes without any.
        kernel: `(C, D)`, float64, or `None`.
        bias: `(C,)`, float64, or zero.
    """

    features: np.ndarray
    labels: np.ndarray
    means: np.ndarray
    kernel: np.ndarray | None = None
    bias: np.ndarray | float = 0.0

    @cached_property
    def decisions(self) -> np.ndarray:
        """`argmax_c w_c h + b_c` of each example, shape `(N,)`."""
        return self._argmax(self.kernel, self.bias, 0.0)

    @cached_property
    def nearest_means(self) -> np.ndarray:
        """`argmin_c ||h - mu_c||` of each example, shape `(N,)`."""
        present = np.flatnonzero(np.isfinite(self.means).all(axis=1))
        # Centred first: a common offset would swamp the distances.
        center = self.means[present].mean(axis=0)
        means = self.means[present] - center
        half_squares = 0.5 * np.sum(means**2, axis=1)
        return present[self._argmax(means, -half_squares, center)]

    def _argmax(self, weights, bias, center):
        classes = [
            np.argmax((block - center) @ weights.T + bias, axis=1)
            for _, block in blocks(self.features)
        ]
        return np.concatenate(classes)
