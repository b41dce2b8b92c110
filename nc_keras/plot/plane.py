"""The plane of the class means, and the simplex ETF nearest to them."""

from __future__ import annotations

import dataclasses

import numpy as np

from nc_keras import geometry


@dataclasses.dataclass(frozen=True, eq=False)
class Plane:
    """Orthonormal axes through the mean of the class means.

    Attributes:
        axes: `(dims, D)`, the directions in which class means differ most.
    """

    axes: np.ndarray

    @classmethod
    def of(cls, means: np.ndarray, dims: int = 2) -> Plane:
        """The plane of centred class means.

        Args:
            means: `(C, D)`, centred.
            dims: Integer, 2 or 3.

        Raises:
            ValueError: If they span less.

        Example:

        >>> from nc_keras.plot.plane import Plane
        >>> means = nc_keras.geometry.simplex_etf(3, 5, seed=0)
        >>> Plane.of(means).project(means).shape
        (3, 2)
        """
        means = means[np.isfinite(means).all(axis=1)]
        most = min(len(means) - 1, means.shape[1])
        if most < dims:
            raise ValueError(
                f"The means of {len(means)} classes in {means.shape[1]} "
                f"dimensions span {most} dimensions, not {dims}. Choose fewer "
                f"`dims`, or data of more classes. Received: dims={dims}."
            )
        axes = np.linalg.svd(means, full_matrices=False)[2][:dims]
        # The sign of a singular vector is arbitrary: here class 0 decides.
        signs = np.where(axes @ means[0] < 0, -1.0, 1.0)
        return cls(axes * signs[:, None])

    def project(self, rows: np.ndarray) -> np.ndarray:
        """`(n, dims)`, the coordinates of centred rows.

        Args:
            rows: `(n, D)`.
        """
        return rows @ self.axes.T


def nearest_etf(means: np.ndarray) -> np.ndarray | None:
    """The turned simplex ETF that is nearest to centred class means.

    Its rows have the mean length of the means (Procrustes).

    Args:
        means: `(C, D)`, centred.

    Returns:
        Array `(C, D)`, or `None` where there is none, as D < C - 1, or where
        the means of all classes are not known.

    Example:

    >>> from nc_keras.plot.plane import nearest_etf
    >>> means = nc_keras.geometry.simplex_etf(4, 6, seed=0)
    >>> bool(np.allclose(nearest_etf(means), means))
    True
    """
    count, dim = means.shape
    if dim < count - 1 or not np.isfinite(means).all():
        return None
    frame = geometry.simplex_etf(count, count - 1, seed=0)
    left, _, right = np.linalg.svd(means.T @ frame, full_matrices=False)
    length = np.linalg.norm(means, axis=1).mean()
    return length * frame @ (left @ right).T
