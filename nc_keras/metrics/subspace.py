"""Alignment of the subspaces that class means and the head's rows span."""

from typing import Any

import keras
import numpy as np

from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.last_layer import triangular_factor
from nc_keras.measuring.registry import metric

_SUBSPACE: dict[str, Any] = {
    "group": "NC3",
    "title": "cosine of the spans of means and head",
    "note": "the same subspace",
    "formula": (
        "mean cosine of the principal angles between the spans of class means "
        "and head"
    ),
    "goal": "1",
    "source": "Rangamani et al. 2023",
}


@metric(
    "nc3_subspace",
    "kernel",
    default=False,
    **_SUBSPACE,
)
def nc3_subspace(layer: LastLayer) -> Any:
    """Mean cosine of the principal angles of `span mu_c` and `span w_c`.

    NC3 of Rangamani et al. 2023 (intermediate neural collapse), with means
    that are not centred, at rank `min(C, D)`, as in the authors' code
    (`AngleBetweenSubspaces` of mariuslindegaard/Intermediate_Neural_Collapse,
    rank `C`). It goes to 1, and is 1 wherever `C >= D` vectors span all.
    """
    means = _span(layer.means, False, layer.xp)
    weights = _span(layer.kernel_of_means, False, layer.xp)
    return _mean_cosine(means, weights, layer.xp)


@metric(
    "nc3_subspace_centered",
    "kernel",
    default=False,
    **_SUBSPACE,
)
def nc3_subspace_centered(layer: LastLayer) -> Any:
    """The same of `mu_c - mu_G` and of `w_c` minus the mean of the rows.

    Rank `min(C - 1, D)`, that of a simplex ETF. Neither the common mean of the
    features nor that of the head's rows counts, as neither changes what the
    network decides.
    """
    means = _span(layer.means, True, layer.xp)
    weights = _span(layer.kernel_of_means, True, layer.xp)
    return _mean_cosine(means, weights, layer.xp)


def _span(rows, centered, xp):
    """Orthonormal basis of the span, zero beyond its rank, and the rank."""
    classes, dim = rows.shape
    epsilon = np.finfo(keras.backend.standardize_dtype(rows.dtype)).eps
    rounding = float(epsilon) * max(classes, dim) * xp.sqrt(xp.sum(rows**2))
    if centered:
        rows = rows - xp.mean(rows, axis=0)
    if xp is np and classes > 2 * dim:
        rows = triangular_factor(rows)
    _, s, vt = xp.linalg.svd(rows, full_matrices=False)
    kept = xp.where(s > rounding, 1.0, 0.0)
    return kept[:, None] * vt, xp.sum(kept)


def _mean_cosine(one, other, xp):
    products = xp.matmul(one[0], xp.transpose(other[0]))
    cosines = xp.linalg.svd(products, compute_uv=False)
    return xp.sum(cosines) / xp.minimum(one[1], other[1])
