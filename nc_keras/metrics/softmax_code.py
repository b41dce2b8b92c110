"""GNC2, softmax codes: no class is close to the hull of all the others."""

import math
import numbers
from typing import Any

import numpy as np

from nc_keras.arguments import real_array
from nc_keras.geometry import validate_num_classes
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import metric
from nc_keras.metrics.hulls import least_distance_to_rest

_MARGIN: dict[str, Any] = {
    "group": "NC2",
    "title": "one-vs-rest margin",
    "note": "C/(C-1) where C <= D+1",
    "formula": (
        "min over c of the distance of a unit row from the convex hull of the "
        "others"
    ),
    "goal": "most",
    "source": "Jiang et al. 2024",
}


@metric(
    "gnc2_margin_weights",
    "kernel",
    default=False,
    **_MARGIN,
)
def gnc2_margin_weights(layer: LastLayer) -> Any:
    """`min_k dist(w_k, conv{w_j: j != k})` of the head's normalised rows.

    The one-vs-rest margin of Jiang et al. 2024, arXiv:2310.05351, whose code
    descends to it; here it is exact. Softmax codes have the largest,
    `optimal_one_vs_rest_margin(C, D)`. It needs SciPy, and solves up to one
    quadratic program a class.
    """
    return one_vs_rest_margin(layer.kernel)


@metric(
    "gnc2_margin_means",
    default=False,
    **_MARGIN,
)
def gnc2_margin_means(layer: LastLayer) -> Any:
    """`min_k dist(theta_k, conv{theta_j: j != k})` of the class means.

    What `gnc2_margin_weights` is for the head, for the class means, centred
    at `mu_G` and brought to length one.
    """
    return one_vs_rest_margin(layer.centered_means)


def one_vs_rest_margin(vectors: Any) -> float:
    """The least distance of a vector to the convex hull of all others.

    Args:
        vectors: Array of shape `(C, D)`; its rows are brought to length one.

    Returns:
        A float, NaN if a row has no direction.

    Example:

    >>> frame = nc_keras.geometry.simplex_etf(4, 3, seed=0)
    >>> margin = nc_keras.metrics.softmax_code.one_vs_rest_margin(frame)
    >>> print(round(margin, 6))
    1.333333
    """
    unit = _unit_rows(vectors)
    return math.nan if unit is None else least_distance_to_rest(unit)


def optimal_one_vs_rest_margin(num_classes: int, dim: int) -> float:
    """The largest one-vs-rest margin of `C` unit vectors, where it is known.

    `C / (C - 1)` for `C <= D + 1`, of a simplex ETF; `1 - cos(2 pi / C)` for
    `D = 2`, of a regular polygon; 1 for `D + 1 < C <= 2 D`, of vertices of
    the cross-polytope; 0 for `D = 1` and more vectors, which repeat; else
    NaN. Jiang et al. 2024, arXiv:2310.05351, as transcribed by public code;
    that nothing is larger follows from averages of `||w_k - p||^2`, with `p`
    the mean of the other vectors, or a Radon point.

    Args:
        num_classes: Integer, the number of vectors `C`, at least 2.
        dim: Integer, their dimension `D`.
    """
    num_classes = validate_num_classes(num_classes)
    if not isinstance(dim, numbers.Integral) or dim < 1:
        raise ValueError(
            f"`dim` must be a positive integer. Received: dim={dim!r}."
        )
    if num_classes <= dim + 1:
        return num_classes / (num_classes - 1)
    if dim == 1:
        return 0.0
    if dim == 2:
        return 1 - math.cos(2 * math.pi / num_classes)
    return 1.0 if num_classes <= 2 * dim else math.nan


def _unit_rows(vectors):
    vectors = real_array(vectors, "Vectors").astype("float64")
    if vectors.ndim != 2 or len(vectors) < 2:
        raise ValueError(
            "Vectors must be rows of an array of shape (C, D), two or more. "
            f"Received: vectors of shape {vectors.shape}."
        )
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        return None
    unit = vectors / norms
    if len(unit) < unit.shape[1]:
        # Coordinates in the span: as many as vectors, with the same angles.
        unit = np.linalg.qr(unit.T, mode="r").T
    return unit
