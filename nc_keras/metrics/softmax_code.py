"""GNC2, softmax codes: no class is close to the hull of all the others."""

import math
import numbers
from typing import Any

import numpy as np

from nc_keras.arguments import real_array
from nc_keras.errors import NonFiniteError
from nc_keras.geometry import validate_num_classes
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import metric

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

_BLOCK = 1024  # classes that are compared with all others at a time
_START = 1024  # nearest points that a hull begins with
_MORE = 64  # points that join where the hull reaches beyond
_TOLERANCE = 1e-10  # of squared distances of unit vectors


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

    The direction `w_k` shows that the distance of `w_k` is at least
    `1 - max_j <w_k, w_j>`. Classes are taken in the order of this bound, until
    it exceeds the least distance found. A class takes a millisecond at
    `C = D = 100`, and 0.4 seconds at `C = 50,000`, `D = 512`.

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
    if unit is None:
        return math.nan
    bounds = 1 - _largest_cosines(unit)
    least = math.inf
    for k in np.argsort(bounds):
        if bounds[k] >= least:
            break
        others = np.delete(unit, k, axis=0)
        least = min(least, distance_to_hull(unit[k], others))
    return float(least)


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


def distance_to_hull(point: np.ndarray, vertices: np.ndarray) -> float:
    """Distance of a point to the convex hull of others, exactly.

    The hull of the nearest vertices is taken first. Its point `x` of least
    norm (`point` being the origin) is that of the whole hull if no vertex `v`
    has `<v, x> < ||x||^2`; else those vertices join.

    Args:
        point: Array of shape `(D,)`.
        vertices: Array of shape `(n, D)`.
    """
    point = real_array(point, "`point`").astype("float64")
    vertices = real_array(vertices, "`vertices`").astype("float64")
    if (
        vertices.ndim != 2
        or not vertices.size
        or point.shape != vertices.shape[1:]
    ):
        raise ValueError(
            "`point` must have the shape (D,) and `vertices` (n, D), with "
            f"n, D > 0. Received: a point of shape {point.shape} and vertices "
            f"of shape {vertices.shape}."
        )
    if not (np.isfinite(point).all() and np.isfinite(vertices).all()):
        raise NonFiniteError(
            "Points must be finite. Received: NaN or infinity in `point` or "
            "`vertices`."
        )
    vertices = vertices - point
    scale = np.abs(vertices).max()
    if not scale:
        return 0.0
    return float(scale * _distance_to_hull(vertices / scale))


def _distance_to_hull(vertices):
    """Distance of the origin to the convex hull of points of size one."""
    order = np.argsort(np.sum(vertices**2, axis=1))
    working = order[:_START]
    while True:
        nearest = _least_norm_point(vertices[working])
        square = nearest @ nearest
        heights = vertices @ nearest
        heights[working] = np.inf
        beyond = np.argsort(heights)[:_MORE]
        beyond = beyond[heights[beyond] < square - _TOLERANCE]
        if not len(beyond):
            return np.sqrt(square)
        working = np.concatenate([working, beyond])


def _least_norm_point(vertices):
    """The point of a convex hull nearest the origin.

    Least squares `V' a = 0`, `1'a = 1` over `a >= 0` has its minimum at a
    multiple of the convex combination sought.
    """
    from scipy.optimize import nnls

    system = np.concatenate([vertices.T, np.ones((1, len(vertices)))])
    target = np.zeros(len(system))
    target[-1] = 1.0
    weights, _ = nnls(system, target)
    return (weights / weights.sum()) @ vertices


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


def _largest_cosines(unit):
    largest = np.empty(len(unit))
    for start in range(0, len(unit), _BLOCK):
        cosines = unit[start : start + _BLOCK] @ unit.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        largest[start : start + _BLOCK] = cosines.max(axis=1)
    return largest
