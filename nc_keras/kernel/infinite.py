"""The kernels of ReLU networks of infinite width, in closed form."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from nc_keras.arguments import checked
from nc_keras.arguments import real_array


@dataclasses.dataclass(frozen=True)
class InfiniteNetwork:
    """A ReLU network of infinite width, in the tangent parametrisation.

    Each layer computes `sigma_w / sqrt(width) W h + sigma_b b`, with standard
    normal `W` and `b`.

    Args:
        depth: Integer, the number of hidden layers.
        sigma_w: Float, positive. `sqrt(2)` keeps the size of the activations.
        sigma_b: Float, not negative.

    Example:

    >>> network = nc_keras.kernel.infinite(depth=2)
    >>> network.tangent([[1.0, 0.0], [0.0, 1.0]]).round(3)
    array([[3.   , 0.686],
           [0.686, 3.   ]])
    """

    depth: int
    sigma_w: float
    sigma_b: float

    def covariance(self, x: Any, others: Any = None) -> np.ndarray:
        """The covariance of the outputs at initialisation (NNGP).

        Args:
            x: Array of shape `(N, D)`.
            others: Array of shape `(M, D)`, by default `x`.

        Returns:
            Array of shape `(N, M)`, float64.
        """
        return self._kernels(x, others)[0]

    def tangent(self, x: Any, others: Any = None) -> np.ndarray:
        """The tangent kernel, which training does not change.

        Args:
            x: Array of shape `(N, D)`.
            others: Array of shape `(M, D)`, by default `x`.

        Returns:
            Array of shape `(N, M)`, float64.
        """
        return self._kernels(x, others)[1]

    def predict(
        self,
        x: Any,
        y: Any,
        x_test: Any,
        ridge: float = 0.0,
        kernel: str = "tangent",
    ) -> np.ndarray:
        """Predicts by regression with one of the two kernels.

        With the tangent kernel and no ridge it is the mean of what gradient
        descent on the square loss ends at, over initialisations.

        Args:
            x: Array of shape `(N, D)`.
            y: Array of shape `(N, C)` or `(N,)`, the targets.
            x_test: Array of shape `(M, D)`.
            ridge: Float, not negative, times the mean of the kernel's
                diagonal.
            kernel: `"tangent"` or `"covariance"`.

        Returns:
            Array of shape `(M, C)` or `(M,)`.

        Raises:
            ValueError: If the kernel is singular, or an argument is invalid.
        """
        if kernel not in ("tangent", "covariance") or not ridge >= 0:
            raise ValueError(
                '`kernel` must be "tangent" or "covariance", and `ridge` not '
                f"negative. Received: {kernel=}, {ridge=}."
            )
        of = getattr(self, kernel)
        gram = of(x)
        gram = gram + ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
        values = np.linalg.eigvalsh(gram)
        # Below, the smallest eigenvalue is rounding, and so is what it adds.
        if not values[0] > len(gram) * np.finfo(float).eps * values[-1]:
            raise ValueError(
                "The kernel of these examples is singular, as two that are "
                f"equal make it. Choose a `ridge`. Received: {ridge=}, and a "
                f"kernel with eigenvalues from {values[0]:.3g} to "
                f"{values[-1]:.3g}."
            )
        coefficients = np.linalg.solve(gram, np.asarray(y, dtype="float64"))
        return of(x_test, x) @ coefficients

    def _kernels(self, x, others):
        x, is_self = _rows(x, "`x`"), others is None
        others = x if is_self else _rows(others, "`others`")
        if x.shape[1] != others.shape[1]:
            raise ValueError(
                "Both arrays must have the same width. "
                f"Received: {x.shape[1]} and {others.shape[1]}."
            )
        weight, bias = self.sigma_w**2, self.sigma_b**2
        width = x.shape[1]
        # Squares of the sizes, along with the products: they follow a
        # recursion of their own, E relu(z)^2 = k / 2.
        squares = weight * np.sum(x**2, axis=1) / width + bias
        of_others = weight * np.sum(others**2, axis=1) / width + bias
        kernel = weight * (x @ others.T) / width + bias
        tangent = kernel
        for _ in range(self.depth):
            sizes = np.sqrt(np.outer(squares, of_others))
            ratio = np.divide(
                kernel, sizes, out=np.zeros_like(kernel), where=sizes > 0
            )
            if is_self:  # The arc cosine would make 1e-8 of 1e-16.
                np.fill_diagonal(ratio, 1.0)
            angle = np.arccos(np.clip(ratio, -1, 1))
            slopes = (np.pi - angle) / (2 * np.pi)
            kernel = sizes * (
                np.sin(angle) / (2 * np.pi) + slopes * np.cos(angle)
            )
            kernel = weight * kernel + bias
            tangent = kernel + weight * slopes * tangent
            squares = weight * squares / 2 + bias
            of_others = weight * of_others / 2 + bias
        return kernel, tangent


@checked(depth="integer", sigma_w="number", sigma_b="number")
def infinite(
    depth: int, sigma_w: float = 2**0.5, sigma_b: float = 0.0
) -> InfiniteNetwork:
    """Returns a ReLU network of infinite width, whose kernels are known.

    Example:

    >>> network = nc_keras.kernel.infinite(depth=1)
    >>> network.predict([[1.0], [-1.0]], [1.0, 2.0], [[1.0], [2.0]])
    array([1., 2.])

    Args:
        depth: Integer, the number of hidden layers, not negative.
        sigma_w: Float, the standard deviation of weights times the root of
            the width. Defaults to `sqrt(2)`.
        sigma_b: Float, that of the biases. Defaults to `0.0`.

    Returns:
        An `InfiniteNetwork`, with `covariance`, `tangent` and `predict`.

    Raises:
        ValueError: If an argument is out of its range.

    Reference:

    - [Cho & Saul, 2009](https://papers.nips.cc/paper/3628), the kernel of
      degree 1.
    - [Jacot et al., 2018](https://arxiv.org/abs/1806.07572), Theorem 1.
    """
    if depth < 0 or not sigma_w > 0 or not sigma_b >= 0:
        raise ValueError(
            "`depth` and `sigma_b` must not be negative, and `sigma_w` must "
            f"be positive. Received: {depth=}, {sigma_w=}, {sigma_b=}."
        )
    return InfiniteNetwork(int(depth), float(sigma_w), float(sigma_b))


def _rows(array, name):
    array = np.asarray(real_array(array, name), dtype="float64")
    if array.ndim != 2 or not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be finite, of shape (N, D). "
            f"Received: an array of shape {array.shape}."
        )
    return array
