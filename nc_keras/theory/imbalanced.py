"""Minimisers for classes that do not have the same number of examples."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from nc_keras import geometry
from nc_keras.theory.class_groups import ClassGroups


@dataclasses.dataclass(frozen=True, eq=False)
class ImbalancedMinimizer:
    """One global minimiser; all others are rotations of its space.

    Groups are of classes with as many examples, the largest first.

    Args:
        counts: Array of shape `(K,)`, the examples per class.
        weights: Array of shape `(K, K)`, the head, a row per class.
        features: Array of shape `(K, K)`, the class means, a row per class.
            Every feature is its class mean.
        loss: Float, the value of the objective.
        collapsed: Booleans of shape `(K,)`: whether a class shares its
            classifier with others of its group, or has none. No rounding
            decides it.

    Example:

    >>> best = nc_keras.theory.layer_peeled([120] * 5 + [10] * 5, 1.0, 5.0)
    >>> print(best.weight_cosines.round(2))
    [[-0.17 -0.25]
     [-0.25  0.94]]
    """

    counts: np.ndarray
    weights: np.ndarray
    features: np.ndarray
    loss: float
    collapsed: np.ndarray

    @functools.cached_property
    def groups(self) -> ClassGroups:
        """Which classes are alike."""
        return ClassGroups(self.counts)

    @property
    def logits(self) -> np.ndarray:
        """The outputs at the class means, `(K, K)`, a row per class."""
        return self.features @ self.weights.T

    @property
    def weight_gram(self) -> np.ndarray:
        """`W W'`, shape `(K, K)`."""
        return self.weights @ self.weights.T

    @property
    def feature_gram(self) -> np.ndarray:
        """`H H'` of the class means, shape `(K, K)`."""
        return self.features @ self.features.T

    @property
    def weight_cosines(self) -> np.ndarray:
        """Mean cosine between classifiers of two groups, `(G, G)`.

        NaN where a classifier is zero, and for a group of one class.
        """
        return self._cosines(self.weights)

    @property
    def feature_cosines(self) -> np.ndarray:
        """Mean cosine between class means of two groups, `(G, G)`.

        Means are not centred. NaN as in `weight_cosines`.
        """
        return self._cosines(self.features)

    def _cosines(self, rows):
        groups = self.groups
        return geometry.group_cosines(rows, groups.group, len(groups.sizes))
