"""The geometry of a head that interpolates simplex-encoded labels (SELI)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from nc_keras.class_counts import checked_counts


@dataclasses.dataclass(frozen=True, eq=False)
class Seli:
    """Gram matrices of head and class means, up to their scale.

    Args:
        counts: Array of shape `(K,)`, the examples per class.
        weight_gram: Array of shape `(K, K)`, `W W'`.
        mean_gram: Array of shape `(K, K)`, of the class means.
        logits: Array of shape `(K, K)`, the centred labels `I - 1/K`.
    """

    counts: np.ndarray
    weight_gram: np.ndarray
    mean_gram: np.ndarray
    logits: np.ndarray


def seli(counts: Sequence[int]) -> Seli:
    """Returns the geometry that cross-entropy goes to as its decay vanishes.

    The logits are the centred labels, whatever the imbalance, and head and
    means follow from their singular vectors. In the limit alone: the distance
    falls with the logarithm of the decay, so compare a trained network with
    `unconstrained_features.cross_entropy` at its own decay as well.

    Example:

    >>> found = nc_keras.theory.seli([10, 10, 1, 1])
    >>> norms = np.sqrt(np.diag(found.weight_gram))
    >>> cosine = found.weight_gram[2, 3] / (norms[2] * norms[3])
    >>> print(round(cosine, 5))
    0.07945

    Args:
        counts: Sequence of `K` positive integers, the examples per class.

    Returns:
        A `Seli`.

    Raises:
        ValueError: If the counts are not positive integers.

    Reference:

    - [Thrampoulidis et al., 2022](https://arxiv.org/abs/2208.05512),
      here of class means instead of all examples.
    """
    sizes = checked_counts(counts)
    logits = np.eye(sizes.size) - 1 / sizes.size
    rows = np.sqrt(sizes)[:, None]
    left, values, right = np.linalg.svd(rows * logits)
    left = left / rows
    return Seli(
        sizes,
        (right.T * values) @ right,
        (left * values) @ left.T,
        logits,
    )
