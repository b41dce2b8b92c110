"""NC3, self-duality: the head becomes the class means."""

from typing import Any

from nc_keras.metrics.last_layer import LastLayer
from nc_keras.metrics.nc2 import etf_distance
from nc_keras.metrics.registry import metric


@metric("nc3", "kernel")
def nc3(layer: LastLayer) -> Any:
    """`||W/||W|| - M/||M||||_F^2`, of Papyan et al. 2020, Figure 5."""
    xp = layer.xp
    weights = layer.kernel_of_means
    weights = weights / xp.sqrt(xp.sum(weights**2))
    means = layer.centered_means / xp.sqrt(xp.sum(layer.centered_means**2))
    return xp.sum((weights - means) ** 2)


@metric("nc3_duality", "kernel")
def nc3_duality(layer: LastLayer) -> Any:
    """Distance of `W M'` to the simplex ETF, of Zhu et al. 2021."""
    means = layer.xp.transpose(layer.centered_means)
    return etf_distance(layer.kernel_of_means @ means, layer.xp)
