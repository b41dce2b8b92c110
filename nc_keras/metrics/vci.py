"""VCI, the variability collapse index: NC1 that no linear map changes."""

from typing import Any

import keras
import numpy as np

from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import metric


@metric(
    "vci",
    "scatter",
    default=False,
    group="NC1",
    scale="log",
    title="variability collapse index",
    note="unexplained share of spread",
    formula=(
        "1 - tr(Sigma_T^+ Sigma_B) / rank Sigma_B, Sigma_T = Sigma_W + Sigma_B"
    ),
    goal="0",
    source="Xu & Liu 2023, as Guiding-Neural-Collapse has it",
)
def vci(layer: LastLayer) -> Any:
    """`1 - tr(Sigma_T^+ Sigma_B) / rank(Sigma_B)`, of Xu & Liu 2023.

    arXiv:2306.03440, as transcribed by evanmarkou/Guiding-Neural-Collapse,
    `Sigma_T = Sigma_W + Sigma_B`. It is 0 at collapse and 1 where class means
    do not differ beyond their spread. With eigenpairs `(l, q)` of `Sigma_T`
    the trace is `sum ||M q||^2 / (C l)` over `l` above rounding, and
    `rank(Sigma_B)` counts the singular values of `M` above rounding:
    `min(C - 1, D)`, as in that code, but for dead directions.
    """
    xp, means = layer.xp, layer.centered_means
    between = xp.matmul(xp.transpose(means), means) / layer.num_classes
    values, vectors = xp.linalg.eigh(layer.scatter + between)
    epsilon = np.finfo(keras.backend.standardize_dtype(values.dtype)).eps
    kept = values > values[-1] * (float(epsilon) * layer.dim)
    squares = xp.sum(xp.matmul(means, vectors) ** 2, axis=0)
    ratios = squares / xp.where(kept, values, 1.0) / layer.num_classes
    s, _ = layer.principal_directions
    rank = xp.sum(xp.where(s > layer.rounding, 1.0, 0.0))
    return 1 - xp.sum(xp.where(kept, ratios, 0.0)) / rank
