"""NC2, convergence to a simplex ETF: of the class means and of the head.

No matrix of all pairs of classes is made where there are more classes than
dimensions: with `A_c` the centred rows, `A_c A_c'` and the smaller `A_c' A_c`
have the same non-zero eigenvalues. All are written as sums of squares, in
which nothing cancels when the value goes to zero.
"""

from typing import Any

from nc_keras.geometry import squared_norms
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.pairs import Pairs
from nc_keras.measuring.registry import metric

_EQUINORM: dict[str, Any] = {
    "group": "NC2",
    "title": "equinorm: std / mean of norms",
    "note": "equal norms",
    "formula": "std / mean of the row norms of M, of W (std with C - 1)",
    "goal": "0",
    "source": "Papyan et al. 2020, Fig. 2",
}
_EQUIANGULAR: dict[str, Any] = {
    "group": "NC2",
    "title": "equiangular: std of cosines",
    "note": "equal angles",
    "formula": "std over c ≠ c' of the cosines of the rows",
    "goal": "0",
    "source": "Papyan et al. 2020, Fig. 3",
}
_MAX_ANGLE: dict[str, Any] = {
    "group": "NC2",
    "title": "max angle: mean |cos + 1/(C-1)|",
    "note": "cosines of -1/(C-1)",
    "formula": "mean over c ≠ c' of |cos + 1/(C - 1)|",
    "goal": "0",
    "source": "Papyan et al. 2020, Fig. 4",
}
_ETF: dict[str, Any] = {
    "group": "NC2",
    "title": "distance to the simplex ETF",
    "note": "distance to the ETF",
    "formula": "Frobenius norm of AA'/|AA'| - Phi, A = M, W",
    "goal": "0",
    "source": "Zhu et al. 2021; Kothapalli 2023",
}


def equinorm(rows: Any, xp: Any) -> Any:
    """Coefficient of variation of the row lengths (std with `C - 1`)."""
    norms = xp.sqrt(squared_norms(rows, xp))
    mean = xp.mean(norms)
    variance = xp.sum((norms - mean) ** 2) / (rows.shape[0] - 1)
    return xp.sqrt(variance) / mean


def equiangular(rows: Any, xp: Any) -> Any:
    """Standard deviation of the cosines of different rows.

    With unit rows `u_c = m + e_c`, `m` their mean and `E` the rows `e_c`, the
    squared deviations of the cosines sum up to
    `2C ||E m||^2 + ||E E'||^2 - (tr E E')^2 / (C - 1)`.
    """
    classes = rows.shape[0]
    unit = rows / xp.sqrt(squared_norms(rows, xp))[:, None]
    mean = xp.mean(unit, axis=0)
    unit -= mean
    _, across = gram_along_simplex(unit, xp)
    shifts = xp.sum(xp.matmul(unit, mean) ** 2)
    squares = across + 2 * classes * shifts
    return xp.sqrt(squares / (classes * (classes - 1)))


def etf_distance(rows: Any, xp: Any) -> Any:
    """Frobenius norm of `G / ||G|| - (I - 11'/C) / sqrt(C - 1)`, `G = A A'`.

    What the mean row `m` adds to `G` is orthogonal to the rest of it:
    `||G||^2 = ||A_c A_c'||^2 + 2C ||A_c m||^2 + C^2 ||m||^4`.
    """
    classes = rows.shape[0]
    rows = rows / xp.sqrt(xp.sum(squared_norms(rows, xp)))
    mean = xp.mean(rows, axis=0)
    rows -= mean
    along, across = gram_along_simplex(rows, xp)
    across = across + (classes * xp.sum(mean**2)) ** 2
    shifts = xp.sum(xp.matmul(rows, mean) ** 2)
    return chord(along, across + 2 * classes * shifts, xp)


def gram_along_simplex(centered: Any, xp: Any) -> tuple[Any, Any]:
    """Splits `A_c A_c'` into its part along the simplex and the rest.

    Args:
        centered: `A_c`, of shape `(C, D)`, whose rows sum to zero.
        xp: `numpy` or `keras.ops`.

    Returns:
        `<A_c A_c', Phi>` with `Phi = (I - 11'/C) / sqrt(C - 1)`, and the
        squared Frobenius norm of the rest.
    """
    classes, dim = centered.shape
    trace = xp.sum(squared_norms(centered, xp))
    if dim >= classes - 1:
        gram = xp.matmul(centered, xp.transpose(centered))
        rest = xp.sum((gram - trace * _simplex(gram, xp)) ** 2)
    else:
        gram = xp.matmul(xp.transpose(centered), centered)
        flat = xp.eye(dim, dtype=gram.dtype) / dim
        rest = xp.sum((gram - trace * flat) ** 2)
        rest = rest + trace**2 * (1 / dim - 1 / (classes - 1))
    return trace / (classes - 1) ** 0.5, rest


def product_along_simplex(a: Any, b: Any, xp: Any) -> tuple[Any, Any]:
    """Splits `A_c B_c'` as `gram_along_simplex` splits `A_c A_c'`.

    Args:
        a: `A_c`, of shape `(C, D)`, whose rows sum to zero.
        b: `B_c`, of shape `(C, D)`, whose rows sum to zero.
        xp: `numpy` or `keras.ops`.
    """
    classes, dim = a.shape
    trace = xp.sum(a * b)
    if dim >= classes - 1:
        products = xp.matmul(a, xp.transpose(b))
        rest = xp.sum((products - trace * _simplex(products, xp)) ** 2)
    else:
        squares = [xp.matmul(xp.transpose(rows), rows) for rows in (a, b)]
        rest = xp.sum(squares[0] * squares[1]) - trace**2 / (classes - 1)
        # The rank of the product alone keeps it so far from the simplex.
        rest = xp.maximum(rest, trace**2 * (1 / dim - 1 / (classes - 1)))
    return trace / (classes - 1) ** 0.5, rest


def chord(along: Any, across: Any, xp: Any) -> Any:
    """Distance on the unit sphere from a direction.

    Args:
        along: The component of a vector along that direction.
        across: The squared norm of the rest of the vector.
        xp: `numpy` or `keras.ops`.

    Returns:
        The distance of the vector, normalised, from the direction.
    """
    size = xp.sqrt(along**2 + across)
    near = across / (size * (size + xp.abs(along)))
    return xp.sqrt(2 * xp.where(along >= 0, near, 2 - near))


def _simplex(like, xp):
    classes = like.shape[0]
    identity = xp.eye(classes, dtype=like.dtype)
    return (identity - 1 / classes) / (classes - 1)


@metric(
    "nc2_equinorm_means",
    **_EQUINORM,
    limits=(0.1, 0.3),
)
def nc2_equinorm_means(layer: LastLayer) -> Any:
    """`std ||mu_c - mu_G|| / mean`, of Papyan et al. 2020, Figure 2."""
    return equinorm(layer.centered_means, layer.xp)


@metric(
    "nc2_equiangular_means",
    **_EQUIANGULAR,
)
def nc2_equiangular_means(layer: LastLayer) -> Any:
    """Std of the cosines of the class means, Papyan et al. 2020, Figure 3."""
    return equiangular(layer.centered_means, layer.xp)


@metric(
    "nc2_max_angle_means",
    over="pairs",
    **_MAX_ANGLE,
    limits=(0.1, 0.3),
)
def nc2_max_angle_means(pairs: Pairs) -> Any:
    """`mean |cos + 1/(C-1)|` of the means, Papyan et al. 2020, Figure 4."""
    return pairs.xp.abs(pairs.cosines_means + 1 / (pairs.num_classes - 1))


@metric(
    "nc2_etf_means",
    **_ETF,
)
def nc2_etf_means(layer: LastLayer) -> Any:
    """Distance of `M M'` to the simplex ETF, of Kothapalli 2023."""
    return etf_distance(layer.centered_means, layer.xp)


@metric(
    "nc2_equinorm_weights",
    "kernel",
    **_EQUINORM,
)
def nc2_equinorm_weights(layer: LastLayer) -> Any:
    """`std ||w_c|| / mean`, of Papyan et al. 2020, Figure 2."""
    return equinorm(layer.kernel, layer.xp)


@metric(
    "nc2_equiangular_weights",
    "kernel",
    **_EQUIANGULAR,
)
def nc2_equiangular_weights(layer: LastLayer) -> Any:
    """Std of the cosines of the weights, Papyan et al. 2020, Figure 3."""
    return equiangular(layer.kernel, layer.xp)


@metric(
    "nc2_max_angle_weights",
    "kernel",
    over="weight_pairs",
    **_MAX_ANGLE,
)
def nc2_max_angle_weights(pairs: Pairs) -> Any:
    """`mean |cos + 1/(C-1)|` of the weights, Papyan et al. 2020, Figure 4."""
    return pairs.xp.abs(pairs.cosines_weights + 1 / (pairs.num_classes - 1))


@metric(
    "nc2_etf_weights",
    "kernel",
    **_ETF,
)
def nc2_etf_weights(layer: LastLayer) -> Any:
    """Distance of `W W'` to the simplex ETF, of Zhu et al. 2021."""
    return etf_distance(layer.kernel, layer.xp)
