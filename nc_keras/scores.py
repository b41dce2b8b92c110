"""Scores of networks that have not been trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from nc_keras.codes import activation_codes
from nc_keras.codes import bit_rows

__all__ = ["overlap_score", "relu_overlap"]


def relu_overlap(
    model: keras.Model,
    x: Any,
    layers: Iterable[Any] | None = None,
    batch_size: int | None = None,
) -> float:
    """How differently an untrained network treats the examples of a batch.

    `log |det K|`, where `K` counts for two examples the ReLUs that are both
    on or both off. Architectures that score higher were found to train to
    higher accuracies; of networks of different sizes it mostly tells the
    size. It is `-inf` if two examples have the same code.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(64,))
    >>> batch = np.random.default_rng(0).normal(size=(8, 4))
    >>> score = nc_keras.scores.relu_overlap(model, batch)
    >>> nc_keras.scores.relu_overlap(model, np.ones((2, 4)))
    -inf

    Args:
        model: A built `keras.Model`. Its BatchNorm layers use their running
            statistics, where the authors' code uses those of the batch.
        x: Array, one batch of `B` examples.
        layers: As in `nc_keras.codes.activation_codes`.
        batch_size: Integer; by default one that suits the model.

    Returns:
        Float.

    Raises:
        ValueError: If the model has no ReLU.

    Reference:

    - [Mellor et al., 2021](https://arxiv.org/abs/2006.04647), the second
      version of the score.
    """
    return overlap_score(activation_codes(model, x, layers, batch_size).bits())


def overlap_score(bits: Any) -> float:
    """`log |det K|` of codes, see `relu_overlap`.

    Example:

    >>> round(nc_keras.scores.overlap_score([[1, 0], [0, 0]]), 4)
    1.0986

    Args:
        bits: Array of zeros and ones, shape `(B, width)`.
    """
    bits = bit_rows(bits)
    if len(np.unique(bits, axis=0)) < len(bits):
        return -np.inf
    on = bits.astype("float64")
    kernel = on @ on.T + (1 - on) @ (1 - on).T
    return float(np.linalg.slogdet(kernel)[1])
