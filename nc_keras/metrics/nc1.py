"""NC1, variability collapse: features become their class means."""

from typing import Any

from nc_keras.metrics.last_layer import LastLayer
from nc_keras.metrics.registry import metric

_BLOCK = 2**22  # numbers in a block of differences of class means


@metric("nc1")
def nc1(layer: LastLayer) -> Any:
    """`tr(Sigma_W Sigma_B^+) / C`, of Papyan et al. 2020, Figure 6.

    With singular values `s` and right singular vectors `v` of `M`,
    `Sigma_B = M'M / C` has eigenvalues `s^2 / C`, so that the value is
    `sum_j v_j' Sigma_W v_j / s_j^2` and no `D x D` matrix is inverted. Only
    directions in which the means differ by more than rounding count. It is
    NaN if they do in none.
    """
    xp = layer.xp
    s, v = layer.principal_directions
    differ = s > layer.rounding
    ratios = layer.within_variance(v) / xp.where(differ, s, 1.0) ** 2
    value = xp.sum(xp.where(differ, ratios, 0.0))
    return xp.where(differ[0], value, float("nan"))


@metric("nc1_trace_ratio")
def nc1_trace_ratio(layer: LastLayer) -> Any:
    """`tr Sigma_W / tr Sigma_B`, of Tirer et al. 2023."""
    xp = layer.xp
    within = xp.sum(layer.counts * layer.variances) / xp.sum(layer.counts)
    return within / (xp.sum(layer.centered_means**2) / layer.num_classes)


@metric("nc1_cdnv")
def nc1_cdnv(layer: LastLayer) -> Any:
    """Class-distance normalised variance, of Galanti et al. 2021.

    The mean over pairs of classes of
    `(v_c + v_c') / (2 ||mu_c - mu_c'||^2)`, `v_c = mean ||h - mu_c||^2`.
    """
    xp, means, variances = layer.xp, layer.means, layer.variances
    classes, dim = means.shape
    total = 0.0
    # Differences, not |a|^2 + |b|^2 - 2ab, which cancels for close means.
    rows = max(1, _BLOCK // (classes * dim))
    for start in range(0, classes, rows):
        block = slice(start, start + rows)
        distances = xp.sum((means[block, None] - means) ** 2, axis=-1)
        same = xp.eye(classes, dtype=distances.dtype)[block]
        ratios = (variances[block, None] + variances) / 2
        # On the diagonal the distance is zero: 1 stands in, to be left out.
        ratios = ratios / (distances * (1 - same) + same)
        total = total + xp.sum(ratios * (1 - same))
    return total / (classes * (classes - 1))
