from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import keras
import numpy as np

from nc_keras.blas import one_thread_for
from nc_keras.geometry import squared_norms

# What is computed of the means, once.
_OF_MEANS = {"center", "centered_means", "mean_norms", "principal_directions"}
_BLOCK = 4096  # rows of a tall matrix that are factorised at a time


@dataclasses.dataclass(frozen=True, eq=False)
class LastLayer:
    """What a metric sees: statistics of the features, and the head.

    Arrays are NumPy's in float64, or tensors of the backend where `xp` is
    `keras.ops`; a metric that is written with `xp` runs on either.

    Attributes:
        means: `(C, D)`, the class means.
        variances: `(C,)`, the mean of `||h - mu_c||^2` over each class.
        counts: `(C,)`, the examples of each class.
        kernel: `(C, D)`, one row of the head's weights per class, or `None`.
        bias: `(C,)`, or zero.
        classes: The rows of `kernel` that `means` belong to, where not every
            class has examples, else `None`.
        scatter: `(D, D)`, `Sigma_W`, or `None` where it was not gathered.
        principal_variances: `(r,)`, `v' Sigma_W v` for the principal
            directions `v` of the class means.
        principal_scatter: `(r, r)`, `V Sigma_W V'` for these directions, where
            that was gathered and not all of `scatter`, else `None`.
        train_means: `(C, D)`, where the examples are not the ones that the
            network was trained on, else `None`. Rows of NaN are classes that
            the training set lacks.
        train_counts: `(C,)`, the training examples of all classes, where these
            are not the training set and that is known, else `None`.
        ood_mean: `(D,)`, the mean of out-of-distribution features, or `None`.
        xp: `numpy` or `keras.ops`.
    """

    means: Any
    variances: Any
    counts: Any
    kernel: Any = None
    bias: Any = 0.0
    classes: Any = None
    scatter: Any = None
    principal_variances: Any = None
    principal_scatter: Any = None
    train_means: Any = None
    train_counts: Any = None
    ood_mean: Any = None
    xp: Any = np

    @property
    def num_classes(self) -> int:
        return self.means.shape[0]

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    @cached_property
    def class_sizes(self) -> Any:
        """The training examples of each class, of all with a row in `kernel`.

        `None` for examples of another set than the training set, whose
        `train_counts` are not known.
        """
        if self.train_counts is not None or self.train_means is not None:
            return self.train_counts
        if self.classes is None:
            return self.counts
        everyone = (
            self.classes[-1] + 1 if self.kernel is None else len(self.kernel)
        )
        sizes = np.zeros(everyone, self.counts.dtype)
        sizes[self.classes] = self.counts
        return sizes

    @property
    def sizes_of_means(self) -> Any:
        """The `class_sizes` that belong to the rows of `means`."""
        if self.classes is None:
            return self.class_sizes
        return self.class_sizes[self.classes]

    @cached_property
    def center(self) -> Any:
        """`(D,)`, the mean of the class means."""
        return self.xp.mean(self.means, axis=0)

    @cached_property
    def centered_means(self) -> Any:
        """`M`: the class means minus the mean of the class means."""
        return self.means - self.center

    @cached_property
    def mean_norms(self) -> Any:
        """`(C,)`, the norms of the rows of `M`."""
        return self.xp.sqrt(squared_norms(self.centered_means, self.xp))

    @cached_property
    def weight_norms(self) -> Any:
        """`(C,)`, the norms of the rows of `kernel_of_means`."""
        return self.xp.sqrt(squared_norms(self.kernel_of_means, self.xp))

    @cached_property
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
        rows = self.centered_means
        with one_thread_for(rows.shape[0] * rows.shape[1] * min(rows.shape)):
            if self.xp is np and self.num_classes > 2 * self.dim:
                rows = triangular_factor(rows)
            _, s, vt = self.xp.linalg.svd(rows, full_matrices=False)
        rank = min(self.num_classes - 1, self.dim)
        return s[:rank], vt[:rank]

    @property
    def rounding(self) -> Any:
        """The singular value that rounding of the means alone can make."""
        size = self.xp.sqrt(self.xp.sum(squared_norms(self.means, self.xp)))
        epsilon = np.finfo(keras.backend.standardize_dtype(size.dtype)).eps
        return size * float(epsilon) * max(self.means.shape)

    @property
    def within_along(self) -> Any:
        """`(r, r)`, `V Sigma_W V'` along the principal directions."""
        if self.scatter is None:
            return self.principal_scatter
        _, directions = self.principal_directions
        return self.xp.matmul(
            self.xp.matmul(directions, self.scatter),
            self.xp.transpose(directions),
        )

    def replaced(self, **arrays: Any) -> LastLayer:
        """A layer with other arrays, of the same means.

        It need not compute again what was made of the means.
        """
        layer = dataclasses.replace(self, **arrays)
        known = vars(self).items()
        vars(layer).update((k, v) for k, v in known if k in _OF_MEANS)
        return layer

    def within_variance(self, directions: Any) -> Any:
        """`v' Sigma_W v` for each row `v` of `directions`, `(k, D)`."""
        products = self.xp.matmul(directions, self.scatter) * directions
        return self.xp.maximum(self.xp.sum(products, axis=1), 0.0)


def triangular_factor(rows: np.ndarray) -> np.ndarray:
    """Returns `R` with `R'R = A'A`, without squaring the condition of `A`.

    Blocks of rows are factorised one after the other, so that a tall matrix
    takes no memory but its own.

    Args:
        rows: `A`, of shape `(n, D)` with `n >= D`.

    Returns:
        An array of shape `(D, D)`.
    """
    factor: Any = rows[:0]
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        factor = np.linalg.qr(np.concatenate([factor, block]), mode="r")
    return factor
