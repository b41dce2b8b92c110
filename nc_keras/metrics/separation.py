"""How far apart classes are: the separation fuzziness of He & Su."""

from typing import Any

import numpy as np

from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import metric


@metric(
    "separation",
    "principal_scatter",
    default=False,
    group="NC1",
    scale="log",
    title="separation fuzziness",
    note="C nc1, classes by their size",
    formula="tr(SS_w SS_b^+), classes weighted by their size",
    goal="0",
    source="He & Su 2023",
)
def separation(layer: LastLayer) -> Any:
    """`tr(SS_w SS_b^+)`, of He & Su 2023.

    `SS_w = Sigma_W` and `SS_b = sum_c n_c (mu_c - m)(mu_c - m)' / N`, where
    `m` is the mean of all examples. The means weighted by the sizes of their
    classes span the same space as those that are not.
    """
    shares = layer.counts / layer.counts.sum()
    _, directions = layer.principal_directions
    rows = (layer.means - shares @ layer.means) @ directions.T
    rows = np.sqrt(shares)[:, None] * rows
    _, s, vt = np.linalg.svd(rows, full_matrices=False)
    differ = s > layer.rounding / layer.num_classes**0.5
    if not differ.any():
        return float("nan")
    along = np.einsum("jk,kl,jl->j", vt, layer.within_along, vt)
    return float(np.sum(along[differ] / s[differ] ** 2))
