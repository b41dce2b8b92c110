"""How a tangent kernel aligns with labels, outputs and residuals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nc_keras.arguments import real_array
from nc_keras.blas import one_thread_for
from nc_keras.kernel.blocks import Blocks
from nc_keras.kernel.blocks import blocks_of
from nc_keras.kernel.targets import one_hot

# Eigenvalues that differ by less, relative to the largest, are one; those of a
# kernel in float32 may be, which matters if their vectors hold much energy.
_EQUAL, _CLOSE, _MATTERS = 1e-12, 1e-6, 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """What `nc_keras.kernel.alignment` found.

    Energies are arrays of shape `(len(ks),)`: the share of a vector's square
    that lies in the top `k` eigenvectors, from 0 to 1. NaN where `k` ends
    between equal eigenvalues, and for a vector of zeros.

    Args:
        ks: The numbers `k` of eigenvectors.
        labels: Energies of the labels, as given.
        centred_labels: Energies of the labels minus their mean over the
            examples. The top eigenvector is nearly constant, and holds much
            of labels that are not centred.
        outputs: Energies of the outputs, or `None` if there are none.
        residual: Energies of the residual, or `None` if there is none.
        eigenvalues: Array, the largest first: shape `(N,)`, `(N C,)`, or
            `(C, N)` where each output has a kernel.
        eigenvectors: Array with one more axis, a column for each of these.
        kta: Float, the kernel-target alignment `<K, Y Y'> / (|K| |Y Y'|)`.
        centred_kta: Float, the same with kernel and labels centred.
        baratin: Float, the same of the full kernel, with the features of the
            kernel centred, `vec(Y)' G vec(Y) / (|G| |Y|^2)`; `None` for
            other kernels.
        blocks: `Blocks`, means over pairs of one class and of two; `None`
            for targets that are no classes.
        num_examples: Integer, `N`.
        num_outputs: Integer, `C`.
    """

    ks: tuple[int, ...]
    labels: np.ndarray
    centred_labels: np.ndarray
    outputs: np.ndarray | None
    residual: np.ndarray | None
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    kta: float
    centred_kta: float
    baratin: float | None
    blocks: Blocks | None
    num_examples: int
    num_outputs: int

    @property
    def lambda_max(self) -> float:
        """The largest eigenvalue."""
        return float(self.eigenvalues.max())

    @property
    def trace(self) -> float:
        """The sum of the eigenvalues."""
        return float(self.eigenvalues.sum())

    @property
    def effective_rank(self) -> float:
        """`trace / lambda_max`; of several kernels the mean."""
        values = np.atleast_2d(self.eigenvalues)
        with np.errstate(invalid="ignore"):
            return float(np.mean(values.sum(axis=1) / values.max(axis=1)))

    def edge(self, learning_rate: float, scale: float = 1.0) -> float:
        """`learning_rate * scale * lambda_max / N`, of the full kernel.

        Gradient descent on the square loss is stable below 2 as long as the
        kernel does not change, and trainings climb to it.

        Args:
            learning_rate: Float.
            scale: Float, `s` in the loss `s / N sum |f - y|^2 / 2`: 2 for
                `nc_keras.losses.MSE("sum")`, and `2 / C` for the mean over
                the outputs.

        Raises:
            ValueError: If it is of another kernel than the full one, and
                there are several outputs.
        """
        if self.baratin is None and self.num_outputs > 1:
            raise ValueError(
                "The edge of stability is that of the full kernel. Received: "
                "the alignment of a kernel that is not: take `gram(..., "
                'outputs="full")`, or `nc_keras.kernel.lambda_max`.'
            )
        return learning_rate * scale * self.lambda_max / self.num_examples


def alignment(
    gram: Any,
    y: Any,
    outputs: Any = None,
    residual: Any = None,
    k: int | Sequence[int] | None = None,
) -> Alignment:
    """Measures how a tangent kernel aligns with labels.

    Pure NumPy, in float64.

    Example:

    >>> block = np.kron(np.eye(4), np.ones((5, 5))) + 2 * np.eye(20)
    >>> found = nc_keras.kernel.alignment(block, np.repeat(np.arange(4), 5))
    >>> found.ks, found.labels
    ((4,), array([1.]))

    Args:
        gram: A `Gram`, or an array of shape `(N, N)`, `(C, N, N)` or `(N C,
            N C)` as `nc_keras.kernel.gram` makes it.
        y: Integer or one-hot labels of the `N` examples, or targets of shape
            `(N,)` or `(N, C)`.
        outputs: Array of shape `(N, C)` or `None`, the logits.
        residual: Array of shape `(N, C)` or `None`, the derivative of the
            loss by the logits: outputs minus labels for the square loss.
        k: Integers, how many of the top eigenvectors. `C` is always among
            them. Defaults to `C` alone.

    Returns:
        An `Alignment`.

    Raises:
        ValueError: If shapes do not fit, a `k` is out of range, or numbers
            are not finite.

    Reference:

    - [Kopitkov & Indelman, 2019](https://arxiv.org/abs/1910.08720), the
      relative energy of section 4, whose numerator there has the labels for
      any vector.
    - [Cortes et al., 2012](https://jmlr.org/papers/v13/cortes12a.html):
      alignment of centred kernels.
    - [Baratin et al., 2021](https://arxiv.org/abs/2008.00938).
    - [Seleznova et al., 2023](https://arxiv.org/abs/2305.16427): blocks.
    """
    kernel = _kernel(gram)
    labels, targets = one_hot(y, _num_outputs(kernel, gram, y))
    count, num_outputs = targets.shape
    _require_shape(kernel, count, num_outputs)
    form = _form(kernel, count)
    size = kernel.shape[-1]
    ks = _ks(k, num_outputs, size)
    centred = targets - targets.mean(axis=0)
    vectors = {
        "labels": targets,
        "centred_labels": centred,
        "outputs": _fitting("outputs", outputs, targets),
        "residual": _fitting("residual", residual, targets),
    }
    with one_thread_for(size**3):
        values, bases = _eigen(kernel)
        energies: dict[str, Any] = {
            name: None
            if vector is None
            else _energies(vector, values, bases, ks, form)
            for name, vector in vectors.items()
        }
        mean = _mean_kernel(kernel, count, num_outputs, form)
        return Alignment(
            ks=ks,
            **energies,
            eigenvalues=values if form == "each" else values[0],
            eigenvectors=bases if form == "each" else bases[0],
            kta=_kta(mean, targets),
            centred_kta=_kta(_centred(mean), centred),
            baratin=_baratin(kernel, centred) if form == "full" else None,
            blocks=None if labels is None else blocks_of(mean, labels),
            num_examples=count,
            num_outputs=num_outputs,
        )


def _kernel(gram):
    kernel = real_array(getattr(gram, "values", gram), "`gram`")
    kernel = np.asarray(kernel, dtype="float64")
    if not np.isfinite(kernel).all():
        raise ValueError("`gram` must be finite. Received: NaN or infinity.")
    return kernel


def _num_outputs(kernel, gram, y):
    """`C`, as far as the kernel tells."""
    known = getattr(gram, "num_outputs", None)
    if known is not None:
        return known
    if kernel.ndim == 3:
        return len(kernel)
    count = len(y)
    times = kernel.shape[0] / max(count, 1)
    return int(times) if times > 1 and times.is_integer() else None


def _require_shape(kernel, count, num_outputs):
    shapes = [
        (count, count),
        (num_outputs, count, count),
        (count * num_outputs, count * num_outputs),
    ]
    if kernel.shape not in shapes:
        raise ValueError(
            f"A kernel of {count} examples and {num_outputs} outputs has one "
            f"of the shapes {', '.join(map(str, shapes))}. "
            f"Received: gram of shape {kernel.shape}."
        )


def _form(kernel, count):
    """Which of the shapes it has; one output has all of them at once."""
    if kernel.ndim == 3:
        return "each"
    return "full" if len(kernel) > count else "trace"


def _ks(k, num_outputs, size):
    given = np.atleast_1d(() if k is None else k)
    ks = tuple(sorted({min(num_outputs, size), *map(int, given)}))
    if ks[0] < 1 or ks[-1] > size:
        raise ValueError(
            f"`k` must be from 1 to {size}, the size of the kernel. "
            f"Received: {k=}."
        )
    return ks


def _fitting(name, array, targets):
    if array is None:
        return None
    array = np.asarray(real_array(array, f"`{name}`"), dtype="float64")
    if array.ndim == 1 and targets.shape[1] == 1:
        array = array[:, None]
    if array.shape != targets.shape or not np.isfinite(array).all():
        raise ValueError(
            f"`{name}` must be finite, and of the shape {targets.shape}. "
            f"Received: {name} of shape {array.shape}."
        )
    return array


def _eigen(kernel):
    """Eigenvalues and columns of eigenvectors, the largest first."""
    kernel = kernel[None] if kernel.ndim == 2 else kernel
    values, vectors = np.linalg.eigh((kernel + kernel.swapaxes(1, 2)) / 2)
    # What is negative of a kernel is rounding.
    return np.maximum(values[:, ::-1], 0.0), vectors[:, :, ::-1]


def _energies(vector, values, bases, ks, form):
    square = np.sum(vector**2)
    if not square:
        return np.full(len(ks), np.nan)
    if form == "full":
        vector = vector.reshape(-1, 1)
    if form == "each":  # Each output with its own basis.
        parts = np.einsum("cnk,nc->ck", bases, vector) ** 2
    else:
        parts = np.sum((bases[0].T @ vector) ** 2, axis=1)[None]
    parts = parts / square
    shares = np.minimum(np.cumsum(parts.sum(axis=0)), 1.0)
    return np.array(
        [np.nan if _is_open(values, parts, k) else shares[k - 1] for k in ks]
    )


def _is_open(values, parts, k):
    """Whether another basis of equal eigenvalues has another energy."""
    if k == values.shape[1]:
        return False
    gaps = values[:, k - 1] - values[:, k]
    largest = values[:, 0]
    if np.any(gaps <= _EQUAL * largest):
        return True
    near = np.abs(values - values[:, k - 1 : k]) <= _CLOSE * largest[:, None]
    near &= (gaps <= _CLOSE * largest)[:, None]
    return parts[near].sum() > _MATTERS


def _mean_kernel(kernel, count, num_outputs, form):
    if form == "each":
        return kernel.mean(axis=0)
    if form == "full":
        grid = kernel.reshape(count, num_outputs, count, num_outputs)
        return np.einsum("ncmc->nm", grid) / num_outputs
    return kernel


def _kta(kernel, targets):
    inner = np.sum((kernel @ targets) * targets)
    norms = np.linalg.norm(kernel) * np.linalg.norm(targets.T @ targets)
    return float(inner / norms) if norms else math.nan


def _centred(kernel):
    rows = kernel - kernel.mean(axis=0, keepdims=True)
    return rows - rows.mean(axis=1, keepdims=True)


def _baratin(kernel, centred):
    count, num_outputs = centred.shape
    grid = kernel.reshape(count, num_outputs, count, num_outputs)
    grid = grid - grid.mean(axis=0, keepdims=True)
    grid = grid - grid.mean(axis=2, keepdims=True)
    matrix, vector = grid.reshape(kernel.shape), centred.reshape(-1)
    norms = np.linalg.norm(matrix) * np.sum(vector**2)
    return float(vector @ matrix @ vector / norms) if norms else math.nan
