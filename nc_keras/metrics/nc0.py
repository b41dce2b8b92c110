"""NC0: the rows of the head sum to zero."""

from typing import Any

from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import metric


@metric(
    "nc0",
    "kernel",
    degrees=(0, 1),
    group="NC0",
    title="NC0: ||sum of the weights||",
    note="norm of the sum of rows",
    formula="|W'1|",
    goal="0",
    source="Zhao et al. 2026",
)
def nc0(layer: LastLayer) -> Any:
    """`||W' 1||_2`, of Zhao et al. 2026."""
    xp = layer.xp
    return xp.sqrt(xp.sum(xp.sum(layer.kernel, axis=0) ** 2))
