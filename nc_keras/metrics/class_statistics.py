from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from nc_keras import geometry
from nc_keras.labels import class_labels

_BLOCK = 4096  # rows that are cast to float64 at a time
_GEMM_CLASSES = 256  # up to here a one-hot product beats sorting


class NonFiniteError(ValueError):
    """Features or weights hold a NaN or an infinity: nothing to measure."""


@dataclasses.dataclass(frozen=True, eq=False)
class ClassStatistics:
    """Counts, means and within-class scatter of features: a mergeable value.

    `merge` is associative and commutative (up to float64 rounding), so that
    batches, devices and processes combine to the statistics of all examples.
    Everything is centred at the class means before it is squared, and kept in
    float64: statistics of collapsed features stay exact.

    Attributes:
        counts: int64 array of shape `(C,)`, the examples of each class.
        means: float64 array of shape `(C, D)`, the class means. The mean of a
            class without examples is zero.
        squares: float64 array of shape `(C,)`, `sum ||h - mu_c||^2` over the
            examples of each class.
        scatter: float64 array of shape `(D, D)`, `sum (h - mu_y)(h - mu_y)'`
            over all examples, or `None` where it was not asked for.

    Example:

    >>> h = np.array([[0.0, 1.0], [2.0, 1.0], [5.0, 5.0]])
    >>> a = nc_keras.metrics.ClassStatistics.from_features(h[:2], [0, 0], 2)
    >>> b = nc_keras.metrics.ClassStatistics.from_features(h[2:], [1], 2)
    >>> a.merge(b).means.tolist()
    [[1.0, 1.0], [5.0, 5.0]]

    Reference:

    - [Chan, Golub & LeVeque, 1983](https://doi.org/10.1080/00031305.1983.10483115),
      equation 2.1, for the merging of centred sums.
    """

    counts: np.ndarray
    means: np.ndarray
    squares: np.ndarray
    scatter: np.ndarray | None

    @classmethod
    def empty(cls, num_classes: int, dim: int) -> ClassStatistics:
        """Statistics of no examples, the neutral element of `merge`."""
        num_classes = geometry.validate_num_classes(num_classes)
        return cls(
            counts=np.zeros(num_classes, "int64"),
            means=np.zeros((num_classes, dim)),
            squares=np.zeros(num_classes),
            scatter=np.zeros((dim, dim)),
        )

    @classmethod
    def from_features(
        cls,
        features: Any,
        labels: Any,
        num_classes: int | None = None,
        scatter: bool = True,
    ) -> ClassStatistics:
        """Computes the statistics of some examples.

        Args:
            features: Array of shape `(N, D)`.
            labels: Integer array of shape `(N,)`, or one-hot `(N, C)`.
            num_classes: Integer or `None`, as in `collapse_metrics`.
            scatter: Boolean, whether to form the `(D, D)` scatter matrix,
                which only statistics that lose their features need.

        Raises:
            NonFiniteError: If a feature is NaN or infinite.
            ValueError: If shapes or labels are invalid.
        """
        labels, num_classes = class_labels(labels, num_classes)
        features = validate_features(features, labels)
        counts = np.bincount(labels, minlength=num_classes)
        sums = np.zeros((num_classes, features.shape[1]))
        for rows, block in blocks(features):
            _add_class_sums(sums, block, labels[rows])
        _check_finite(sums, features)
        means = sums / np.maximum(counts, 1)[:, None]
        squares = np.zeros(num_classes)
        products = np.zeros((features.shape[1],) * 2) if scatter else None
        for rows, block in blocks(features):
            residuals = block - means[labels[rows]]
            squares += np.bincount(
                labels[rows],
                np.einsum("nd,nd->n", residuals, residuals),
                num_classes,
            )
            if scatter:
                products += residuals.T @ residuals
        return cls(counts, means, squares, products)

    def merge(self, other: ClassStatistics) -> ClassStatistics:
        """Returns the statistics of the examples of both.

        Args:
            other: `ClassStatistics` of the same classes and dimension.

        Raises:
            ValueError: If the shapes differ.
        """
        if self.means.shape != other.means.shape:
            raise ValueError(
                "Only statistics of the same classes and dimension can be "
                f"merged. Received: means of shapes {self.means.shape} and "
                f"{other.means.shape}."
            )
        counts = self.counts + other.counts
        share = other.counts / np.where(counts == 0, 1, counts)
        shift = other.means - self.means
        weights = self.counts * share
        scatter = None
        if self.scatter is not None and other.scatter is not None:
            between = (shift * weights[:, None]).T @ shift
            scatter = self.scatter + other.scatter + between
        return ClassStatistics(
            counts=counts,
            means=self.means + share[:, None] * shift,
            squares=self.squares
            + other.squares
            + weights * np.sum(shift**2, axis=1),
            scatter=scatter,
        )

    def within_variance(self, directions: np.ndarray) -> np.ndarray:
        """`v' Sigma_W v` for each row `v` of `directions`.

        Args:
            directions: Array of shape `(k, D)`.

        Returns:
            A float64 array of shape `(k,)`.
        """
        products = np.einsum("kd,kd->k", directions @ self.scatter, directions)
        return np.maximum(products, 0.0) / self.counts.sum()


def blocks(features: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields slices of rows and their features as float64."""
    for start in range(0, len(features), _BLOCK):
        rows = slice(start, start + _BLOCK)
        yield rows, features[rows].astype("float64")


def validate_features(features: Any, labels: np.ndarray) -> np.ndarray:
    """Returns features of shape `(N, D)`, or says why they are not."""
    features = np.asarray(features)
    if features.dtype.kind in "cOSUMm":
        raise ValueError(
            "Features must be real numbers. "
            f"Received: features of dtype {features.dtype}."
        )
    if features.ndim != 2 or not features.size:
        raise ValueError(
            "Features must be an array of shape (N, D) with N, D > 0. "
            f"Received: features of shape {features.shape}."
        )
    if len(features) != len(labels):
        raise ValueError(
            "Features and labels must be of equal length. Received: "
            f"{len(features)} features and {len(labels)} labels."
        )
    return features


def _add_class_sums(sums, block, labels):
    num_classes = len(sums)
    if num_classes <= _GEMM_CLASSES:
        one_hot = labels == np.arange(num_classes)[:, None]
        with np.errstate(invalid="ignore"):
            sums += one_hot.astype("float64") @ block
        return
    order = np.argsort(labels, kind="stable")
    classes, starts = np.unique(labels[order], return_index=True)
    sums[classes] += np.add.reduceat(block[order], starts, axis=0)


def _check_finite(sums, features):
    if np.isfinite(sums).all():
        return
    rows = np.flatnonzero(~np.isfinite(features).all(axis=1))
    raise NonFiniteError(
        "Features must be finite. Received: NaN or infinity in "
        f"{len(rows)} of {len(features)} examples, first in example {rows[0]}."
    )
