"""NC3, self-duality: the head becomes the class means."""

from typing import Any

from nc_keras.geometry import squared_norms
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import metric
from nc_keras.metrics.nc2 import chord
from nc_keras.metrics.nc2 import product_along_simplex


@metric(
    "nc3",
    "kernel",
    group="NC3",
    title="||W/|W| - M/|M| ||^2",
    note="distance of head and means",
    formula="squared Frobenius norm of W/|W| - M/|M|",
    goal="0",
    source="Papyan et al. 2020, Fig. 5",
    limits=(0.1, 0.5),
)
def nc3(layer: LastLayer) -> Any:
    """`||W/||W|| - M/||M||||_F^2`, of Papyan et al. 2020, Figure 5."""
    xp = layer.xp
    weights = layer.kernel_of_means
    weights = weights / xp.sqrt(xp.sum(weights**2))
    means = layer.centered_means / xp.sqrt(xp.sum(layer.centered_means**2))
    return xp.sum((weights - means) ** 2)


@metric(
    "nc3_duality",
    "kernel",
    group="NC3",
    title="distance of W M' to the simplex ETF",
    note="distance to the ETF",
    formula="Frobenius norm of WM'/|WM'| - Phi",
    goal="0",
    source="Zhu et al. 2021",
)
def nc3_duality(layer: LastLayer) -> Any:
    """Distance of `W M'` to the simplex ETF, of Zhu et al. 2021."""
    xp = layer.xp
    weights, means = layer.kernel_of_means, layer.centered_means
    weights = weights / xp.sqrt(xp.sum(squared_norms(weights, xp)))
    means = means / xp.sqrt(xp.sum(squared_norms(means, xp)))
    shift = xp.mean(weights, axis=0)
    weights -= shift
    along, across = product_along_simplex(weights, means, xp)
    shifts = layer.num_classes * xp.sum(xp.matmul(means, shift) ** 2)
    return chord(along, across + shifts, xp)
