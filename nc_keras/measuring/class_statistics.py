from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from nc_keras.arguments import real_array
from nc_keras.errors import NonFiniteError
from nc_keras.geometry import validate_dim
from nc_keras.geometry import validate_num_classes
from nc_keras.labels import class_labels
from nc_keras.measuring.examples import Scratch
from nc_keras.measuring.examples import blocks

_FEW = 64  # classes, up to which a product with one-hot labels is as fast


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
    def empty(
        cls, num_classes: int, dim: int, scatter: bool = True
    ) -> ClassStatistics:
        """Statistics of no examples, the neutral element of `merge`."""
        num_classes = validate_num_classes(num_classes)
        dim = validate_dim(dim)
        return cls(
            counts=np.zeros(num_classes, "int64"),
            means=np.zeros((num_classes, dim)),
            squares=np.zeros(num_classes),
            scatter=np.zeros((dim, dim)) if scatter else None,
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
        accumulator = Accumulator(num_classes, scatter)
        for rows, block in blocks(features):
            accumulator.update(block, labels[rows])
        return accumulator.statistics()

    @property
    def present_means(self) -> np.ndarray:
        """`means`, but NaN for a class without examples."""
        return np.where(self.counts[:, None] > 0, self.means, np.nan)

    @np.errstate(invalid="ignore", over="ignore")
    def merge(self, other: ClassStatistics) -> ClassStatistics:
        """Returns the statistics of the examples of both.

        Args:
            other: `ClassStatistics` of the same classes and dimension.

        Raises:
            ValueError: If the shapes differ.
        """
        validate_statistics(other)
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


class Accumulator:
    """Gathers `ClassStatistics` from blocks of examples, in place.

    Each class is centred at its first example before anything is squared:
    no sum is then larger than the number of examples times what is left when
    the mean is known, and in float64 the shift to the mean costs no digit
    that matters. A block costs what its examples cost, however many classes
    there are.

    Args:
        num_classes: Integer, or `None` to go by the largest label so far.
        scatter: Boolean, whether to gather the `(D, D)` scatter.

    Attributes:
        examples: Integer, how many there were.
        scatter: The `(D, D)` scatter about the references, or `None`.
        scatter_wanted: Boolean, whether it is gathered.
    """

    def __init__(self, num_classes: int | None = None, scatter: bool = False):
        self.num_classes = num_classes
        self.scatter: np.ndarray | None = None
        self.scatter_wanted = scatter
        self._counts: Any = None
        self.examples = self._invalid = 0
        self._first_invalid = None
        self._scratch = Scratch()

    @np.errstate(invalid="ignore", over="ignore")
    def update(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Adds a block of features, float32 or 64, and integer labels."""
        self._make_room(labels, features.shape[1])
        self._note_references(features, labels)
        residuals = self._scratch.array(*features.shape)
        # Labels are valid, and to check them again takes a copy.
        np.take(self._references, labels, 0, out=residuals, mode="clip")
        np.subtract(features, residuals, out=residuals)
        squares = np.einsum("nd,nd->n", residuals, residuals)
        self._note_invalid(features, squares)
        classes = len(self._counts)
        self._counts += np.bincount(labels, minlength=classes)
        self._squares += np.bincount(labels, squares, classes)
        _add_class_sums(self._sums, residuals, labels)
        if self.scatter is not None:
            self.scatter += residuals.T @ residuals

    def gather_scatter(
        self, blocks_so_far: Iterable[tuple[np.ndarray, np.ndarray]]
    ) -> None:
        """From now on gathers the scatter too, of earlier blocks as well."""
        self.scatter_wanted = True
        for features, labels in blocks_so_far:
            residuals = features - self._references[labels]
            if self.scatter is None:
                self.scatter = np.zeros((residuals.shape[1],) * 2)
            self.scatter += residuals.T @ residuals

    @np.errstate(invalid="ignore", over="ignore")
    def statistics(self) -> ClassStatistics:
        """The statistics of all blocks.

        Raises:
            NonFiniteError: If a feature is NaN or infinite.
        """
        if self._invalid:
            raise NonFiniteError(
                "Features must be finite. Received: NaN or infinity in "
                f"{self._invalid} of {self.examples} examples, first in "
                f"example {self._first_invalid}."
            )
        shifts = self._sums / np.maximum(self._counts, 1)[:, None]
        lost = np.einsum("cd,cd->c", self._sums, shifts)
        scatter = None
        if self.scatter is not None:
            scatter = self.scatter - self._sums.T @ shifts
        means = shifts  # In place: fresh memory takes longer than the sum.
        means += self._references
        return ClassStatistics(
            counts=self._counts.copy(),
            means=means,
            squares=np.maximum(self._squares - lost, 0.0),
            scatter=scatter,
        )

    def _make_room(self, labels, dim):
        classes = self.num_classes or int(labels.max()) + 1
        if self._counts is None:
            self._counts = np.zeros(classes, "int64")
            self._squares = np.zeros(classes)
            self._references = np.zeros((classes, dim))
            self._sums = np.zeros((classes, dim))
            if self.scatter_wanted:
                self.scatter = np.zeros((dim, dim))
        more = classes - len(self._counts)
        if more > 0:
            self._counts, self._squares, self._references, self._sums = (
                np.concatenate([a, np.zeros((more, *a.shape[1:]), a.dtype)])
                for a in (
                    self._counts,
                    self._squares,
                    self._references,
                    self._sums,
                )
            )

    def _note_references(self, features, labels):
        new = np.flatnonzero(self._counts[labels] == 0)
        if new.size:
            classes, first = np.unique(labels[new], return_index=True)
            self._references[classes] = features[new[first]]

    def _note_invalid(self, features, squares):
        if not np.isfinite(squares).all():
            invalid = np.flatnonzero(~np.isfinite(features).all(axis=1))
            if invalid.size and self._first_invalid is None:
                self._first_invalid = self.examples + invalid[0]
            self._invalid += invalid.size
        self.examples += len(features)


def validate_statistics(
    statistics: Any, scatter: bool = False
) -> ClassStatistics:
    """Returns `ClassStatistics`, or says what they lack.

    Args:
        statistics: The `ClassStatistics`.
        scatter: Boolean, whether they need a scatter.
    """
    if not isinstance(statistics, ClassStatistics):
        raise ValueError(
            "Statistics must be `nc_keras.metrics.ClassStatistics`. "
            f"Received: statistics of type {type(statistics).__name__}."
        )
    arrays = {
        field.name: getattr(statistics, field.name)
        for field in dataclasses.fields(statistics)
    }
    if arrays["scatter"] is None:
        if scatter:
            raise ValueError(
                "The statistics carry no scatter matrix. Make them with "
                "`ClassStatistics.from_features(..., scatter=True)`. "
                "Received: statistics.scatter=None."
            )
        del arrays["scatter"]
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(
                f"`statistics.{name}` must be a NumPy array. "
                f"Received: {type(array).__name__}."
            )
        real_array(array, f"`statistics.{name}`")
    means = arrays["means"]
    classes, dim = means.shape if means.ndim == 2 else (0, 0)
    expected = {
        "counts": (classes,),
        "means": (classes, dim),
        "squares": (classes,),
        "scatter": (dim, dim),
    }
    shapes = {name: array.shape for name, array in arrays.items()}
    if any(shape != expected[name] for name, shape in shapes.items()):
        raise ValueError(
            "Statistics of C classes and D dimensions must have counts and "
            "squares of shape (C,), means (C, D) and a scatter (D, D). "
            f"Received: arrays of shapes {shapes}."
        )
    for name in ("counts", "squares"):
        if (arrays[name] < 0).any():
            raise ValueError(
                f"`statistics.{name}` must not be negative. Received: "
                f"{arrays[name].min()}, and {(arrays[name] < 0).sum()} such "
                "values in all."
            )
    if scatter and not all(np.isfinite(a).all() for a in arrays.values()):
        raise NonFiniteError(
            "Statistics must be finite. Received: NaN or infinity in "
            f"{[n for n, a in arrays.items() if not np.isfinite(a).all()]}."
        )
    return statistics


def validate_features(features: Any, labels: np.ndarray) -> np.ndarray:
    """Returns features of shape `(N, D)`, or says why they are not."""
    features = real_array(features, "Features")
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


def _add_class_sums(sums, rows, labels):
    if len(sums) <= _FEW:
        one_hot = labels == np.arange(len(sums))[:, None]
        sums += one_hot.astype("float64") @ rows
        return
    from scipy.sparse import csc_array  # Only where it is needed: it is slow.

    classes, places = np.unique(labels, return_inverse=True)
    starts = np.arange(len(rows) + 1)
    belongs = (np.ones(len(rows)), places, starts)
    sums[classes] += csc_array(belongs, (len(classes), len(rows))) @ rows
