"""NC2, convergence to a simplex ETF: of the class means and of the head."""

from typing import Any

from nc_keras.metrics.last_layer import LastLayer
from nc_keras.metrics.registry import metric


def equinorm(rows: Any, xp: Any) -> Any:
    """Coefficient of variation of the row lengths (std with `C - 1`)."""
    norms = xp.sqrt(xp.sum(rows**2, axis=1))
    mean = xp.mean(norms)
    variance = xp.sum((norms - mean) ** 2) / (rows.shape[0] - 1)
    return xp.sqrt(variance) / mean


def equiangular(rows: Any, xp: Any) -> Any:
    """Standard deviation of the cosines of different rows."""
    cosines, different = _cosines(rows, xp)
    pairs = xp.sum(different)
    mean = xp.sum(cosines * different) / pairs
    return xp.sqrt(xp.sum((cosines - mean) ** 2 * different) / pairs)


def max_angle(rows: Any, xp: Any) -> Any:
    """Mean of `|cos + 1 / (C - 1)|` over different rows."""
    cosines, different = _cosines(rows, xp)
    deviations = xp.abs(cosines + 1 / (rows.shape[0] - 1))
    return xp.sum(deviations * different) / xp.sum(different)


def etf_distance(products: Any, xp: Any) -> Any:
    """Frobenius norm of `G / ||G|| - (I - 11'/C) / sqrt(C - 1)`."""
    classes = products.shape[0]
    simplex = xp.eye(classes, dtype=products.dtype) - 1 / classes
    unit = products / xp.sqrt(xp.sum(products**2))
    return xp.sqrt(xp.sum((unit - simplex / (classes - 1) ** 0.5) ** 2))


@metric("nc2_equinorm_means")
def nc2_equinorm_means(layer: LastLayer) -> Any:
    """`std ||mu_c - mu_G|| / mean`, of Papyan et al. 2020, Figure 2."""
    return equinorm(layer.centered_means, layer.xp)


@metric("nc2_equiangular_means")
def nc2_equiangular_means(layer: LastLayer) -> Any:
    """Std of the cosines of the class means, Papyan et al. 2020, Figure 3."""
    return equiangular(layer.centered_means, layer.xp)


@metric("nc2_max_angle_means")
def nc2_max_angle_means(layer: LastLayer) -> Any:
    """`mean |cos + 1/(C-1)|` of the means, Papyan et al. 2020, Figure 4."""
    return max_angle(layer.centered_means, layer.xp)


@metric("nc2_etf_means")
def nc2_etf_means(layer: LastLayer) -> Any:
    """Distance of `M M'` to the simplex ETF, of Kothapalli 2023."""
    rows = layer.centered_means
    return etf_distance(rows @ layer.xp.transpose(rows), layer.xp)


@metric("nc2_equinorm_weights", "kernel")
def nc2_equinorm_weights(layer: LastLayer) -> Any:
    """`std ||w_c|| / mean`, of Papyan et al. 2020, Figure 2."""
    return equinorm(layer.kernel, layer.xp)


@metric("nc2_equiangular_weights", "kernel")
def nc2_equiangular_weights(layer: LastLayer) -> Any:
    """Std of the cosines of the weights, Papyan et al. 2020, Figure 3."""
    return equiangular(layer.kernel, layer.xp)


@metric("nc2_max_angle_weights", "kernel")
def nc2_max_angle_weights(layer: LastLayer) -> Any:
    """`mean |cos + 1/(C-1)|` of the weights, Papyan et al. 2020, Figure 4."""
    return max_angle(layer.kernel, layer.xp)


@metric("nc2_etf_weights", "kernel")
def nc2_etf_weights(layer: LastLayer) -> Any:
    """Distance of `W W'` to the simplex ETF, of Zhu et al. 2021."""
    return etf_distance(
        layer.kernel @ layer.xp.transpose(layer.kernel), layer.xp
    )


def _cosines(rows, xp):
    unit = rows / xp.sqrt(xp.sum(rows**2, axis=1, keepdims=True))
    different = 1 - xp.eye(rows.shape[0], dtype=rows.dtype)
    return unit @ xp.transpose(unit), different
