"""How far class means, and the head, are from the nearest simplex ETF."""

from typing import Any

import numpy as np

from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import metric

_NEAREST: dict[str, Any] = {
    "default": False,
    "group": "NC2",
    "title": "squared distance to the nearest simplex ETF",
    "note": "to the nearest ETF",
    "formula": (
        "min over U of |A/|A| - U|², U a simplex ETF of norm 1, A = M, W about "
        "its mean row"
    ),
    "goal": "0",
    "source": "Markou et al. 2024; closed form derived here",
}


def _distance(values, num_classes):
    """`2 - 2 sum s / sqrt(C - 1)`, written so that nothing cancels."""
    values = values / np.sqrt(np.sum(values**2))
    rank = num_classes - 1
    missing = (rank - len(values)) / rank
    return np.sum((values - rank**-0.5) ** 2) + missing


@metric("nc2_nearest_etf_means", **_NEAREST)
def nc2_nearest_etf_means(layer: LastLayer) -> Any:
    """Squared distance of `M / ||M||` to the nearest simplex ETF."""
    return _distance(layer.principal_directions[0], layer.num_classes)


@metric("nc2_nearest_etf_weights", "kernel", **_NEAREST)
def nc2_nearest_etf_weights(layer: LastLayer) -> Any:
    """Squared distance of `W`, about its mean row, to the nearest ETF."""
    rows = layer.kernel - np.mean(layer.kernel, axis=0)
    values = np.linalg.svd(rows, compute_uv=False)
    return _distance(values[: len(rows) - 1], len(rows))
