"""NECO: out-of-distribution detection by the subspace of the training data."""

import numbers
from typing import Any

import numpy as np

from nc_keras.arguments import real_array
from nc_keras.errors import NonFiniteError
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.class_statistics import validate_statistics
from nc_keras.measuring.examples import blocks
from nc_keras.metrics.roc import auroc
from nc_keras.metrics.roc import false_positive_rate

__all__ = ["auroc", "false_positive_rate", "neco_scores"]


def neco_scores(
    features: Any,
    statistics: ClassStatistics,
    dim: int | None = None,
    standardize: bool = False,
    logits: Any = None,
) -> np.ndarray:
    """How much of each feature lies in the principal space of training data.

    `||P z|| / ||z||` with `z = h - mean`, where the rows of `P` are the first
    `dim` principal directions of the training features (by their total
    covariance, as PCA) and `mean` is their mean: near 1 in distribution, less
    out of it.

    The authors' code standardises features, but advises against it where NC1
    is well verified, which is what this library trains to, and multiplies by
    the largest logit, but for ResNets. It has no default for `dim`, "the
    approximate dimension of the ETF"; `C - 1` is that of a simplex ETF.

    Args:
        features: Array of shape `(N, D)`.
        statistics: `ClassStatistics` of the training features, with scatter.
        dim: Integer, the number of principal directions. Defaults to
            `min(C - 1, D)`.
        standardize: Boolean, whether to divide `z` by the standard deviations
            of the training features (where they are not zero) and to take the
            principal directions of that.
        logits: Array of shape `(N, C)`, whose largest value in each row
            multiplies the score, or `None`.

    Returns:
        A float64 array of shape `(N,)`. Larger means in distribution.

    Raises:
        ValueError: If shapes or `dim` do not fit.

    Example:

    >>> train = np.array([[2.0, 0, 0], [4.0, 0, 0]])
    >>> statistics = nc_keras.metrics.ClassStatistics.from_features(
    ...     train, [0, 1]
    ... )
    >>> features = [[5.0, 0, 0], [3.0, 1, 0]]
    >>> nc_keras.metrics.neco.neco_scores(features, statistics)
    array([1., 0.])

    Reference:

    - [Ben Ammar et al., 2024](https://arxiv.org/abs/2310.06823), equation 6.
    """
    features = real_array(features, "Features")
    mean, scale, directions = _principal_space(statistics, dim, standardize)
    if features.ndim != 2 or features.shape[1] != len(mean):
        raise ValueError(
            f"`features` must have the shape (N, {len(mean)}), as those of the "
            f"statistics. Received: features of shape {features.shape}."
        )
    scores = np.zeros(len(features))
    for rows, block in blocks(features):
        if not np.isfinite(block).all():
            raise NonFiniteError(
                "Features must be finite. Received: NaN or infinity in "
                f"features {rows.start} .. {rows.start + len(block) - 1}."
            )
        block = (block - mean) / scale
        norms = np.linalg.norm(block, axis=1)
        inside = np.linalg.norm(block @ directions, axis=1)
        np.divide(inside, norms, out=scores[rows], where=norms > 0)
    if logits is not None:
        scores = scores * np.max(_validate_logits(logits, features), axis=1)
    return scores


def _principal_space(statistics, dim, standardize):
    validate_statistics(statistics, scatter=True)
    counts, means = statistics.counts, statistics.means
    classes, size = (counts > 0).sum(), means.shape[1]
    if not classes:
        raise ValueError("Received: `statistics` of no examples.")
    if dim is None:
        dim = min(classes - 1, size)
    if not isinstance(dim, numbers.Integral) or not 0 < dim <= size:
        raise ValueError(
            f"`dim` must be in 1 .. {size}, the dimension of the features. "
            f"Received: dim={dim!r}."
        )
    mean = counts @ means / counts.sum()
    shifts = (means - mean) * np.sqrt(counts)[:, None]
    total = (statistics.scatter + shifts.T @ shifts) / counts.sum()
    scale = np.ones(size)
    if standardize:
        scale = np.sqrt(np.diag(total))
        # What is left of a constant feature is rounding of its mean.
        scale = np.where(scale > 1e-12 * np.abs(mean), scale, 1.0)
    _, directions = np.linalg.eigh(total / np.outer(scale, scale))
    return mean, scale, directions[:, size - dim :]


def _validate_logits(logits, features):
    logits = real_array(logits, "`logits`").astype("float64")
    if logits.ndim != 2 or len(logits) != len(features) or not logits.size:
        raise ValueError(
            f"`logits` must have the shape (N, C) = ({len(features)}, C). "
            f"Received: logits of shape {logits.shape}."
        )
    return logits
