"""Distances to convex hulls, exactly: of a point, and of each from the rest."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nc_keras.arguments import real_array
from nc_keras.errors import NonFiniteError

_PRODUCTS = 2**24  # numbers that a pass over all pairs has in memory
_START = 64  # the nearest points, with which a hull begins
_DEPENDENT = 1e-6  # of singular values, below which vectors span less
_TOLERANCE = 1e-10  # of squared distances of unit vectors, and of distances


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


def least_distance_to_rest(unit: np.ndarray) -> float:
    """`min_k dist(w_k, conv{w_j: j != k})` of unit vectors.

    The point `p` nearest to `w_k` of the hull of some vectors shows that the
    distance is at most `||w_k - p||`, and any direction `u` that it is at
    least `min_j <w_k - w_j, u> / ||u||`. One product of all directions and all
    vectors bounds the distances of all; a vector whose bound exceeds the least
    distance found is done. The hulls of the others, which begin with the
    nearest, grow by what lies beyond them.

    Args:
        unit: float64 array of shape `(C, D)`, rows of length one.
    """
    hulls = [np.empty(0, "int64")] * len(unit)
    left, directions = np.arange(len(unit)), unit.copy()
    inverse, is_flat = _flats(unit, directions)
    least, count = np.inf, _START
    while len(left):
        bounds, beyond = _bounds(unit, left, directions, hulls, count)
        order = np.argsort(bounds)
        for position, i in enumerate(order):
            k = left[i]
            if bounds[i] >= least - _TOLERANCE:
                break
            if position == 0:
                others = np.delete(unit, k, axis=0) - unit[k]
                distance = _distance_to_hull(others)
            else:
                if is_flat[k] and not len(hulls[k]):
                    hulls[k], weights = _face(inverse, k)
                else:
                    hulls[k] = np.concatenate([hulls[k], beyond[i]])
                    weights = _weights(unit[hulls[k]] - unit[k])
                directions[k] = unit[k] - weights @ unit[hulls[k]]
                distance = np.linalg.norm(directions[k])
            least = min(least, distance)
        order = order[1:]
        left = left[order[bounds[order] < least - _TOLERANCE]]
        count *= 2
    return float(least)


def _flats(unit, directions):
    """Takes the normals of the flats through all others, where they show more.

    Returns:
        A pseudoinverse of the centred Gram matrix, and where they do.
    """
    classes, dim = unit.shape
    nowhere = None, np.zeros(classes, "bool")
    if classes > dim + 1:  # A flat through so many is the whole space.
        return nowhere
    u, s, v = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    if not s[classes - 2] > _DEPENDENT * s[0]:
        return nowhere
    rank = classes - 1
    normals = (u[:, :rank] / s[:rank]) @ v[:rank]
    everyone, hulls = np.arange(classes), [()] * classes
    of_rows, of_flats = (
        _bounds(unit, everyone, of, hulls, 1)[0] for of in (unit, normals)
    )
    is_flat = of_flats > of_rows
    directions[is_flat] = normals[is_flat]
    return normals @ normals.T, is_flat


def _face(inverse, k):
    """A face whose flat has the point nearest to row `k` within the face.

    The row `k` of the inverse has the coefficients of that point in the flat
    through all other vectors, times a factor that is negative. Those of the
    wrong sign are left out, until none is.

    Returns:
        The vectors of the face, and their weights.
    """
    kept = np.arange(len(inverse)) != k
    while True:
        out = np.flatnonzero(~kept)
        out = out[out != k]
        share = np.linalg.solve(inverse[np.ix_(out, out)], inverse[out, k])
        row = inverse[k] - share @ inverse[out]
        wrong = kept & (row >= 0)
        if not wrong.any():
            face = np.flatnonzero(kept)
            return face, row[face] / row[face].sum()
        kept &= ~wrong


def _bounds(
    unit: np.ndarray,
    classes: np.ndarray,
    directions: np.ndarray,
    hulls: Sequence[Any],
    count: int,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """What distances are at least, and up to `count` rows beyond each hull.

    The bound is infinite where no row is beyond: the hull needs no more.
    """
    bounds, beyond = np.full(len(classes), np.inf), []
    rows = max(1, _PRODUCTS // len(unit))
    for start in range(0, len(classes), rows):
        part = classes[start : start + rows]
        heights = directions[part] @ unit.T
        for i, k in enumerate(part, start):
            row, size = heights[i - start], np.linalg.norm(directions[k])
            own, row[k] = row[k], -np.inf
            reach = own - size**2 + _TOLERANCE if len(hulls[k]) else -np.inf
            top = _highest(row, count)
            highest = row[top].max()
            if highest > reach:
                bounds[i] = (own - highest) / size
            top = top[row[top] > reach]
            beyond.append(np.setdiff1d(top, hulls[k], assume_unique=True))
    return bounds, beyond


def _highest(row, count):
    if count >= len(row):
        return np.arange(len(row))
    return np.argpartition(row, -count)[-count:]


def _distance_to_hull(vertices):
    """Distance of the origin to the convex hull of points of size one."""
    working = np.argsort(np.sum(vertices**2, axis=1))[:_START]
    while True:
        nearest = _weights(vertices[working]) @ vertices[working]
        square = nearest @ nearest
        heights = vertices @ nearest
        heights[working] = np.inf
        beyond = np.argsort(heights)[: len(working)]
        beyond = beyond[heights[beyond] < square - _TOLERANCE]
        if not len(beyond):
            return np.sqrt(square)
        working = np.concatenate([working, beyond])


def _weights(vertices):
    """The weights of the point of a convex hull that is nearest the origin.

    Least squares `V' a = 0`, `1'a = 1` over `a >= 0` has its minimum at a
    multiple of the convex combination sought.
    """
    from scipy.optimize import nnls

    system = np.concatenate([vertices.T, np.ones((1, len(vertices)))])
    target = np.zeros(len(system))
    target[-1] = 1.0
    weights, _ = nnls(system, target)
    return weights / weights.sum()
