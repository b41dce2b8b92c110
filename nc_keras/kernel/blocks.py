"""How much a kernel is a matter of classes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The means of a kernel over pairs of examples.

    A kernel that has no other values has three eigenvalues: one within the
    classes, one between them, and one of the constant vector.

    Args:
        gamma_d: Float, the mean over examples with themselves.
        gamma_c: Float, over pairs of one class; NaN where there are none.
        gamma_n: Float, over pairs of two classes.
        r2: Float, the share of the kernel's variance over all pairs that
            these three values explain, at most 1.
        within: Float, `gamma_d - gamma_c`, `C (m - 1)` times an eigenvalue.
        between: Float, `within + m (gamma_c - gamma_n)`, `C - 1` times; NaN
            unless all classes have as many examples `m`.
        constant: Float, `between + m C gamma_n`, once; NaN as `between`.
    """

    gamma_d: float
    gamma_c: float
    gamma_n: float
    r2: float
    within: float
    between: float
    constant: float


def blocks_of(kernel: np.ndarray, labels: np.ndarray) -> Blocks:
    """Fits a kernel by its blocks.

    Args:
        kernel: Array of shape `(N, N)`.
        labels: Integers of shape `(N,)`.

    Example:

    >>> from nc_keras.kernel.blocks import blocks_of
    >>> kernel = np.array([[3.0, 2.0, 1.0], [2.0, 3.0, 1.0], [1.0, 1.0, 3.0]])
    >>> found = blocks_of(kernel, np.array([0, 0, 1]))
    >>> found.gamma_d, found.gamma_c, found.gamma_n, round(found.r2, 6)
    (3.0, 2.0, 1.0, 1.0)

    Reference:

    - [Seleznova et al., 2023](https://arxiv.org/abs/2305.16427), as in their
      code (mselezniova/ntk_collapse). The share `r2` is ours.
    """
    same = labels[:, None] == labels[None]
    diagonal = np.eye(len(labels), dtype=bool)
    masks = (diagonal, same & ~diagonal, ~same)
    fitted = np.zeros(kernel.shape)
    means = []
    for mask in masks:
        mean = float(kernel[mask].mean()) if mask.any() else math.nan
        fitted[mask] = mean
        means.append(mean)
    total = np.sum((kernel - kernel.mean()) ** 2)
    r2 = 1 - np.sum((kernel - fitted) ** 2) / total if total else math.nan
    gamma_d, gamma_c, gamma_n = means
    counts = np.unique(labels, return_counts=True)[1]
    size = float(counts[0]) if np.ptp(counts) == 0 else math.nan
    within = gamma_d - gamma_c
    between = within + size * (gamma_c - gamma_n)
    constant = between + size * len(counts) * gamma_n
    return Blocks(
        *(gamma_d, gamma_c, gamma_n), float(r2), within, between, constant
    )
