"""Frames and angles, as plain NumPy in float64."""

import operator
from typing import Any

import numpy as np

from nc_keras.arguments import checked
from nc_keras.arguments import real_array

# Below this share of the largest square a vector is zero, and has no cosine.
_ZERO = 1e-8
_MOST_CLASSES = 10**7  # more is rather a wrong number


@checked(dim="integer", seed="integer")
def simplex_etf(
    num_classes: int,
    dim: int,
    seed: int | None = None,
    rotate: bool = True,
) -> np.ndarray:
    """Draws a simplex equiangular tight frame (ETF).

    The rows are `num_classes` unit vectors whose pairwise cosines are all
    `-1 / (num_classes - 1)`, the most negative value that so many vectors can
    share. They are `sqrt(C / (C - 1)) U Q'`, where the columns of `U` are an
    orthonormal basis of the C-vectors that sum to zero and `Q` is
    Haar-distributed among the `dim x (C - 1)` matrices with orthonormal
    columns. That is the law of `sqrt(C / (C - 1)) (I - 11'/C) P'` with a Haar
    `P`, and it also exists where `dim` is `C - 1`.

    Not rotated, it is `sqrt(C / (C - 1)) (I - 11'/C)` in the first `C`
    coordinates, and nothing in the others: the frame of the centred unit
    vectors, which features that are never negative can meet exactly.

    Args:
        num_classes: Integer, the number of classes `C`, at least 2.
        dim: Integer, the dimension of the space, at least `C - 1`.
        seed: Integer or `None`. The same seed gives the same frame. `None`
            draws a new one.
        rotate: Boolean, whether to turn the frame at random. `False` gives the
            canonical frame, which has no seed. Defaults to `True`.

    Returns:
        A float64 array of shape `(num_classes, dim)`.

    Raises:
        ValueError: If `num_classes < 2`, or if `dim < num_classes - 1`, or
            `dim < num_classes` where the frame is not rotated.

    Example:

    >>> frame = nc_keras.geometry.simplex_etf(4, 3, seed=0)
    >>> gram = frame @ frame.T
    >>> print(np.round(gram[0], 12))
    [ 1.         -0.33333333 -0.33333333 -0.33333333]

    Reference:

    - [Papyan, Han & Donoho, 2020](https://arxiv.org/abs/2008.08186),
      Definition 1 (general simplex ETF).
    - [Zhu et al., 2021](https://arxiv.org/abs/2105.02375), whose code has the
      canonical frame.
    - [Mezzadri, 2007](https://arxiv.org/abs/math-ph/0609050), for the sign
      that makes the QR factor Haar-distributed.
    """
    num_classes = validate_num_classes(num_classes)
    if seed is not None and seed < 0:
        raise ValueError(f"`seed` must not be negative. Received: seed={seed}.")
    least = num_classes - 1 if rotate else num_classes
    if dim < least:
        raise ValueError(
            f"{num_classes} vectors can only form a "
            f"{'' if rotate else 'canonical '}simplex ETF in at least "
            f"{least} dimensions. Widen the features to "
            f"{least} or more, or use a learned head "
            "(`keras.layers.Dense` or `nc_keras.layers.WeightNormDense`). "
            f"Received: num_classes={num_classes}, dim={dim}."
        )
    scale = np.sqrt(num_classes / (num_classes - 1))
    if not rotate:
        unit = np.eye(num_classes, dim)
        return scale * (unit - unit.mean(axis=0))
    normal = np.random.default_rng(seed).standard_normal((dim, num_classes - 1))
    q, r = np.linalg.qr(normal)
    q *= np.sign(np.diag(r))
    return scale * centered_basis(num_classes) @ q.T


def simplex_gram(num_classes: int) -> np.ndarray:
    """The Gram matrix of a simplex ETF: 1 and, off it, `-1 / (C - 1)`.

    Args:
        num_classes: Integer, the number of classes `C`, at least 2.

    Returns:
        A float64 array of shape `(C, C)`.

    Raises:
        ValueError: If `num_classes < 2`.

    Example:

    >>> print(nc_keras.geometry.simplex_gram(3))
    [[ 1.  -0.5 -0.5]
     [-0.5  1.  -0.5]
     [-0.5 -0.5  1. ]]
    """
    num_classes = validate_num_classes(num_classes)
    gram = np.full((num_classes, num_classes), -1.0 / (num_classes - 1))
    np.fill_diagonal(gram, 1.0)
    return gram


def cosines(vectors: np.ndarray) -> np.ndarray:
    """The cosines between the rows of a matrix.

    Args:
        vectors: Array of shape `(C, D)`.

    Returns:
        A float64 array of shape `(C, C)`. Rows and columns of a vector of
        length zero, which has no direction, are NaN.

    Example:

    >>> print(nc_keras.geometry.cosines([[2.0, 0.0], [3.0, 3.0]]).round(4))
    [[1.     0.7071]
     [0.7071 1.    ]]
    """
    vectors = real_array(vectors, "Vectors").astype("float64")
    if vectors.ndim != 2:
        raise ValueError(
            "Vectors must be rows of an array of shape (C, D). "
            f"Received: vectors of shape {vectors.shape}."
        )
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = vectors / norms
    return unit @ unit.T


def group_cosines(
    vectors: np.ndarray, groups: np.ndarray, num_groups: int
) -> np.ndarray:
    """The mean cosine between different rows of each two groups.

    No matrix of all pairs of rows is made.

    Args:
        vectors: Array of shape `(C, D)`.
        groups: Integers of shape `(C,)`, the group of each row.
        num_groups: Integer, `G`.

    Returns:
        A float64 array of shape `(G, G)`. It is NaN for groups without a pair
        of rows, and with a row that is shorter than `1e-4` of the longest.

    Example:

    >>> vectors = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, -1.0]])
    >>> print(nc_keras.geometry.group_cosines(vectors, [0, 1, 1], 2))
    [[nan  0.]
     [ 0. -1.]]
    """
    vectors = np.asarray(vectors, "float64")
    squares = np.sum(vectors**2, axis=1)
    squares[squares <= _ZERO * squares.max(initial=0.0)] = np.nan
    sums = np.zeros((num_groups, vectors.shape[1]))
    np.add.at(sums, groups, vectors / np.sqrt(squares)[:, None])
    members = np.bincount(groups, minlength=num_groups)
    pairs = np.outer(members, members).astype("float64")
    found = sums @ sums.T
    # A vector is no pair with itself.
    own = np.diag_indices(num_groups)
    found[own] -= members
    pairs[own] -= members
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, found / pairs, np.nan)


def squared_norms(rows: Any, xp: Any = np) -> Any:
    """`||a_c||^2` of each row of `(C, D)`, with no second array of that size.

    Args:
        rows: The rows.
        xp: `numpy` or `keras.ops`.
    """
    if xp is np:
        return np.einsum("cd,cd->c", rows, rows)
    return xp.sum(rows**2, axis=1)


def validate_num_classes(num_classes: int) -> int:
    """Returns `num_classes` as an int, or says why it is not one."""
    try:
        value = operator.index(num_classes)
    except TypeError:
        value = None
    if value is None or not 2 <= value <= _MOST_CLASSES:
        raise ValueError(
            "`num_classes` must be an integer of at least 2: the geometry of "
            f"one class is not defined; and at most {_MOST_CLASSES:,}. "
            f"Received: num_classes={num_classes!r}."
        )
    return value


def validate_dim(dim: int) -> int:
    """Returns `dim` as an int, or says why it is not a dimension."""
    try:
        value = operator.index(dim)
    except TypeError:
        value = None
    if value is None or not 1 <= value < _MOST_CLASSES:
        raise ValueError(
            f"`dim` must be a positive integer, less than {_MOST_CLASSES}. "
            f"Received: dim={dim!r}."
        )
    return value


def centered_basis(num_classes: int) -> np.ndarray:
    """Helmert's orthonormal basis of the C-vectors that sum to zero.

    Args:
        num_classes: Integer, `C`.

    Returns:
        A float64 array of shape `(C, C - 1)`.
    """
    k = np.arange(1, num_classes)
    basis = np.triu(np.ones((num_classes, num_classes - 1)))
    basis[k, k - 1] = -k
    return basis / np.sqrt(k * (k + 1))
