"""The largest eigenvalues of a symmetric operator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def lanczos(
    product: Callable[[np.ndarray], np.ndarray],
    size: int,
    k: int = 1,
    tolerance: float = 1e-10,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lanczos' method, each vector made orthogonal to all before it, twice.

    Args:
        product: Function of a vector, the product with a symmetric matrix.
        size: Integer, of the vectors.
        k: Integer, how many eigenvalues.
        tolerance: Float, the largest residual at which it stops, relative to
            the largest eigenvalue.
        seed: Integer, of the first vector.

    Returns:
        Eigenvalues, the largest first, shape `(k,)`; eigenvectors, shape
        `(size, k)`; and residuals `||A v - l v||`, shape `(k,)`.

    Example:

    >>> from nc_keras.kernel.lanczos import lanczos
    >>> matrix = np.diag([1.0, 5.0, 3.0])
    >>> values, vectors, residuals = lanczos(matrix.dot, 3, 2)
    >>> values.round(6)
    array([5., 3.])
    """
    generator = np.random.default_rng(seed)
    basis = np.zeros((size, 0))
    diagonal: list[float] = []
    beside: list[float] = []
    vector = _across(basis, generator.normal(size=size))
    while True:
        basis = np.column_stack([basis, vector])
        image = product(vector)
        diagonal.append(float(vector @ image))
        rest = image - basis @ (basis.T @ image)
        rest -= basis @ (basis.T @ rest)
        norm = float(np.linalg.norm(rest))
        values, rotation = _eigen(diagonal, beside)
        residuals = norm * np.abs(rotation[-1, :k])
        scale = max(abs(values[0]), np.finfo(float).tiny)
        steps = len(diagonal)
        found_all = steps >= k and residuals.max() <= tolerance * scale
        if steps == size or (found_all and steps >= min(size, 2 * k + 2)):
            return values[:k], basis @ rotation[:, :k], residuals
        if norm > 1e-12 * scale:
            vector = rest / norm
            beside.append(norm)
        else:
            # An invariant subspace: go on outside of it.
            vector = _across(basis, generator.normal(size=size))
            beside.append(0.0)


def _across(basis, vector):
    """The direction of a vector that is orthogonal to a basis."""
    for _ in range(2):
        vector = vector - basis @ (basis.T @ vector)
        vector = vector / np.linalg.norm(vector)
    return vector


def _eigen(diagonal, beside):
    tridiagonal = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    values, vectors = np.linalg.eigh(tridiagonal)
    return values[::-1], vectors[:, ::-1]
