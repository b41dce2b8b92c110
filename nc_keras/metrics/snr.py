"""The signal-to-noise ratio of features."""

from __future__ import annotations

import numpy as np

from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.class_statistics import validate_statistics


class SingularError(ValueError):
    """`Sigma_W` is singular where features vary: the ratio is infinite."""


def snr(statistics: ClassStatistics) -> np.ndarray:
    """Singular values of the signal-to-noise matrix `Sigma_W^{-1/2} M`.

    All grow without bound, and to the same value, as a network collapses.

    Directions in which no feature varies, such as a unit that is dead for
    all examples, are left out, which changes nothing; where features vary in
    fewer than `C - 1` directions, the last values are zero. A direction in
    which class means differ while every example is at the mean of its class
    has an infinite ratio, and is an error.

    Args:
        statistics: `ClassStatistics` with scatter.

    Returns:
        A float64 array of shape `(min(C - 1, D),)`, the largest first.

    Raises:
        SingularError: If `Sigma_W` is singular where features vary.
        ValueError: If there is no scatter, or a class has no example.

    Example:

    >>> from nc_keras.theory import central_path
    >>> h, y = [[0.0, 1.0], [2.0, -1.0], [5.0, 5.0], [5.5, 5.5]], [0, 0, 1, 1]
    >>> statistics = nc_keras.metrics.ClassStatistics.from_features(h, y)
    >>> central_path.snr(statistics).shape
    (1,)

    Reference:

    - [Han, Papyan & Donoho, 2022](https://arxiv.org/abs/2106.02073).
    """
    whitened = _centered(statistics) @ whitening(statistics)
    values = np.zeros(min(len(whitened) - 1, statistics.means.shape[1]))
    found = np.linalg.svd(whitened, compute_uv=False)[: len(values)]
    values[: len(found)] = found
    return values


def _centered(statistics):
    validate_statistics(statistics)
    if statistics.scatter is None or not statistics.counts.all():
        raise ValueError(
            "The signal-to-noise matrix needs the scatter matrix, and an "
            "example of every class. Received: "
            f"counts={statistics.counts.tolist()}, "
            f"scatter={'None' if statistics.scatter is None else 'given'}."
        )
    return statistics.means - statistics.means.mean(axis=0)


def whitening(statistics):
    """`B` of shape `(D, r)`, `B' Sigma_W B = I`, where features vary."""
    means = _centered(statistics)
    covariance = statistics.scatter / statistics.counts.sum()
    # What a feature is measured in matters for the rounding alone.
    unit = np.sqrt(np.diag(covariance))
    unit = np.where(unit > 0, unit, np.sqrt(np.mean(means**2, axis=0)))
    unit = np.where(unit > 0, unit, 1.0)
    within = covariance / np.outer(unit, unit)
    between = (means / unit).T @ (means / unit)
    # Each to its own scale: collapsed features vary much less within.
    both = sum(part / (np.trace(part) or 1.0) for part in (within, between))
    tolerance = np.finfo("float64").eps * len(both)
    values, vectors = np.linalg.eigh(both)
    basis = vectors[:, values > 10 * tolerance * values[-1]]
    values, vectors = np.linalg.eigh(basis.T @ within @ basis)
    rank = np.sum(values > tolerance * max(values, default=0.0))
    if not 0 < rank == len(values):
        raise SingularError(
            "Sigma_W must have full rank where features vary: there must be "
            "more examples than dimensions and classes together, and no "
            "feature that is constant in every class but not between them. "
            f"Received: features that vary in {len(values)} directions, and "
            f"Sigma_W of rank {rank}."
        )
    return basis @ vectors / np.sqrt(values) / unit[:, None]
