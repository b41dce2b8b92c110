"""The largest eigenvalues of a tangent kernel that is never formed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import checked
from nc_keras.kernel.examples import batches
from nc_keras.kernel.examples import examples_of
from nc_keras.kernel.lanczos import lanczos
from nc_keras.kernel.network import Network
from nc_keras.kernel.network import network_of


@dataclasses.dataclass(frozen=True, eq=False)
class Spectrum:
    """The top of a symmetric operator's spectrum.

    Args:
        eigenvalues: Array of shape `(k,)`, the largest first.
        eigenvectors: Array of shape `(size, k)`, a column for each.
        residuals: Array of shape `(k,)`, `||G v - l v||` of each.
    """

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    residuals: np.ndarray


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over random vectors.

    Args:
        value: Float, the mean.
        error: Float, its standard error.
    """

    value: float
    error: float


class Operator:
    """Products with the full tangent kernel, two passes over the data each.

    Args:
        network: A `Network`.
        x: The examples, as `examples_of` returns them.

    Attributes:
        shape: `(N, C)`, of the vectors.
    """

    def __init__(self, network: Network, x: Any):
        self.network = network
        self.values = network.read()
        self._x = x
        count = len(keras.tree.flatten(x)[0])
        self.shape = (count, network.num_outputs)

    def outputs(self) -> np.ndarray:
        """The logits, `(N, C)`, float64."""
        found = [
            self.network.outputs(self.values, batch)[:length]
            for batch, length in batches(self._x, self.network.batch_size)
        ]
        return np.concatenate(found).astype("float64")

    def pull(self, vector: np.ndarray) -> list:
        """`J' v`: the gradients of `sum(v * logits)`, one per weight."""
        total, start = None, 0
        for batch, length in batches(self._x, self.network.batch_size):
            rows = len(keras.tree.flatten(batch)[0])
            cotangent = np.zeros((rows, self.shape[1]))
            cotangent[:length] = vector[start : start + length]
            found = self.network.pull(
                self.values, batch, self._tensor(cotangent)
            )
            total = (
                found
                if total is None
                else [a + b for a, b in zip(total, found, strict=True)]
            )
            start += length
        return total or []

    def push(self, tangents: list) -> np.ndarray:
        """`J u`, float64, of one tensor for each weight."""
        found = [
            ops.convert_to_numpy(
                self.network.push(self.values, batch, tangents)
            )[:length]
            for batch, length in batches(self._x, self.network.batch_size)
        ]
        return np.concatenate(found).astype("float64")

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """`J J' v`, of an array of shape `(N, C)`."""
        return self.push(self.pull(vector))

    def square(self, vector: np.ndarray) -> float:
        """`v' J J' v`, in one pass over the data."""
        return sum(
            float(np.sum(ops.convert_to_numpy(one).astype("float64") ** 2))
            for one in self.pull(vector)
        )

    def _tensor(self, array):
        return ops.convert_to_tensor(array, self.network.dtype)


@checked(k="integer", batch_size="integer")
def top(
    model: keras.Model | Network,
    x: Any,
    k: int = 1,
    outputs: str = "full",
    batch_size: int = 64,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> Spectrum:
    """Computes the largest eigenvalues and eigenvectors of a tangent kernel.

    The kernel is not formed: Lanczos' method multiplies vectors by it, which
    takes a backward and a forward derivative of the network, about `2 k + 20`
    times. Memory is that of as many vectors.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x = np.random.default_rng(0).normal(size=(6, 4))
    >>> found = nc_keras.kernel.top(model, x, k=2)
    >>> found.eigenvectors.shape
    (18, 2)
    >>> exact = nc_keras.kernel.gram(model, x, outputs="full").values
    >>> largest = np.linalg.eigvalsh(exact)[-1]
    >>> bool(abs(found.eigenvalues[0] / largest - 1) < 1e-4)
    True

    Args:
        model: A built `keras.Model` whose output is a vector, or its
            `nc_keras.kernel.Network`.
        x: Array (or structure of arrays) of `N` examples.
        k: Integer, how many eigenvalues.
        outputs: `"full"` for the kernel of all pairs of outputs, whose
            eigenvectors have the size `N C`; or `"trace"` for the mean over
            the outputs, of size `N`, which costs `C` times as much.
        batch_size: Integer, the examples of one pass.
        tolerance: Float, the residual of each eigenvector at which to stop,
            relative to the largest eigenvalue.
        seed: Integer, of the first vector.

    Returns:
        A `Spectrum`.

    Raises:
        ValueError: If `k` is larger than the kernel, or as in `gram`.
    """
    x = examples_of(x)
    if outputs not in ("full", "trace"):
        raise ValueError(
            '`outputs` must be "full" or "trace": the kernel of one output '
            "alone is that of a model with this output. "
            f"Received: {outputs=}."
        )
    operator = Operator(network_of(model, x, batch_size), x)
    size = operator.shape[0] * (operator.shape[1] if outputs == "full" else 1)
    if not 1 <= k <= size:
        raise ValueError(
            f"`k` must be from 1 to {size}, the size of the kernel. "
            f"Received: {k=}."
        )
    product = _full(operator) if outputs == "full" else _trace(operator)
    return Spectrum(*lanczos(product, size, k, tolerance, seed))


@checked(samples="integer", batch_size="integer")
def trace_of(
    model: keras.Model | Network,
    x: Any,
    samples: int = 32,
    batch_size: int = 64,
    seed: int = 0,
) -> Estimate:
    """Estimates the trace of the full tangent kernel, without the kernel.

    Hutchinson's estimate: the mean of `||J' z||^2` over random signs `z`, one
    pass over the data each.

    Args:
        model: A built `keras.Model` whose output is a vector, or its
            `nc_keras.kernel.Network`.
        x: Array (or structure of arrays) of examples.
        samples: Integer, how many `z`, two at least.
        batch_size: Integer.
        seed: Integer, of the signs.

    Returns:
        An `Estimate`.

    Raises:
        ValueError: As `gram`.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x = np.random.default_rng(0).normal(size=(6, 4))
    >>> found = nc_keras.kernel.trace_of(model, x)
    >>> exact = np.trace(nc_keras.kernel.gram(model, x, outputs="full").values)
    >>> bool(abs(found.value - exact) < 5 * found.error)
    True
    """
    operator = _operator(model, x, samples, batch_size)
    signs = _signs(operator.shape, samples, seed)
    return _mean([operator.square(z) for z in signs])


@checked(samples="integer", batch_size="integer")
def frobenius_of(
    model: keras.Model | Network,
    x: Any,
    samples: int = 32,
    batch_size: int = 64,
    seed: int = 0,
) -> Estimate:
    """Estimates `||G||_F^2` of the full tangent kernel, without the kernel.

    The mean of `||G z||^2` over random signs `z`, two passes over the data
    each.

    Args:
        model: A built `keras.Model` whose output is a vector, or its
            `nc_keras.kernel.Network`.
        x: Array (or structure of arrays) of examples.
        samples: Integer, how many `z`, two at least.
        batch_size: Integer.
        seed: Integer, of the signs.

    Returns:
        An `Estimate` of the square of the Frobenius norm.

    Raises:
        ValueError: As `gram`.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x = np.random.default_rng(0).normal(size=(6, 4))
    >>> found = nc_keras.kernel.frobenius_of(model, x)
    >>> exact = nc_keras.kernel.gram(model, x, outputs="full").values
    >>> bool(abs(found.value - np.sum(exact**2)) < 5 * found.error)
    True
    """
    operator = _operator(model, x, samples, batch_size)
    signs = _signs(operator.shape, samples, seed)
    return _mean([float(np.sum(operator(z) ** 2)) for z in signs])


def lambda_max(
    model: keras.Model | Network, x: Any, batch_size: int = 64, seed: int = 0
) -> float:
    """Returns the largest eigenvalue of the full tangent kernel.

    Args:
        model: A built `keras.Model` whose output is a vector, or its
            `nc_keras.kernel.Network`.
        x: Array (or structure of arrays) of examples.
        batch_size: Integer.
        seed: Integer, of the first vector.

    Raises:
        ValueError: As `gram`.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x = np.random.default_rng(0).normal(size=(6, 4))
    >>> found = nc_keras.kernel.lambda_max(model, x)
    >>> exact = nc_keras.kernel.gram(model, x, outputs="full").values
    >>> bool(abs(found / np.linalg.eigvalsh(exact)[-1] - 1) < 1e-4)
    True
    """
    found = top(model, x, 1, batch_size=batch_size, seed=seed)
    return float(found.eigenvalues[0])


def sharpness(operator: Operator, root: np.ndarray, seed: int = 0) -> float:
    """The largest eigenvalue of the Gauss-Newton matrix of a mean loss.

    Args:
        operator: The `Operator` of a network and its examples.
        root: Array of shape `(N, C, C)`, the square roots of each example's
            second derivatives of the loss by the logits.
        seed: Integer, of the first vector.
    """

    def product(vector):
        rows = np.einsum("nij,nj->ni", root, vector.reshape(operator.shape))
        rows = np.einsum("nij,nj->ni", root, operator(rows))
        return rows.reshape(-1)

    size = operator.shape[0] * operator.shape[1]
    values, *_ = lanczos(product, size, 1, 1e-3, seed)
    return float(values[0]) / operator.shape[0]


def _operator(model, x, samples, batch_size):
    if samples < 2:
        raise ValueError(
            f"A standard error needs two samples or more. Received: {samples=}."
        )
    x = examples_of(x)
    return Operator(network_of(model, x, batch_size), x)


def _full(operator: Operator) -> Callable:
    return lambda v: operator(v.reshape(operator.shape)).reshape(-1)


def _trace(operator: Operator) -> Callable:
    """The mean over outputs of each one's kernel."""
    _, outputs = operator.shape

    def product(vector):
        total = np.zeros(len(vector))
        for c in range(outputs):
            alone = np.zeros(operator.shape)
            alone[:, c] = vector
            total += operator(alone)[:, c]
        return total / outputs

    return product


def _signs(shape, samples, seed):
    generator = np.random.default_rng(seed)
    for _ in range(samples):
        yield generator.choice([-1.0, 1.0], size=shape)


def _mean(values):
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return Estimate(float(np.mean(values)), float(error))
