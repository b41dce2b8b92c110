"""The MSE loss as variability, geometry, and distance to the best head."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from nc_keras.arguments import checked
from nc_keras.blas import one_thread
from nc_keras.labels import class_labels
from nc_keras.losses.mse import MSE
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.validation import present_classes
from nc_keras.measuring.validation import validate_head
from nc_keras.measuring.validation import validate_shapes
from nc_keras.optimizers.sgd import SGD


@dataclasses.dataclass(frozen=True, eq=False)
class MSEDecomposition:
    """The parts of the MSE loss, and the least-squares head.

    Attributes:
        total: Float, the loss of the given head.
        nc1: Float, what the spread within classes costs the least-squares
            head, with its weight decay.
        nc23: Float, what it misses at the class means.
        perp: Float, what the given head costs more than the least-squares
            head: 0 on the central path.
        kernel: Array of shape `(D, C)`, the weights of the least-squares
            head.
        bias: Array of shape `(C,)`, its bias; zero where the head has none.

    Args:
        total: See the attributes; so for the other arguments.

    Example:

    >>> parts = nc_keras.metrics.mse_decomposition(
    ...     [[0.0], [1.0], [3.0]], [0, 0, 1], [[0.5, 0.5]], [0.0, 0.0]
    ... )
    >>> np.isclose(parts.nc1 + parts.nc23 + parts.perp, parts.total)
    np.True_
    """

    total: float
    nc1: float
    nc23: float
    perp: float
    kernel: np.ndarray
    bias: np.ndarray

    @property
    def perp_share(self) -> float:
        """`L_perp / L`: how far from the central path."""
        return self.perp / self.total


@checked(kernel="array", bias="array", decay="number")
def mse_decomposition(
    features: Any,
    labels: Any,
    kernel: Any,
    bias: Any = None,
    decay: float = 0.0,
) -> MSEDecomposition:
    """Decomposes the MSE loss of a head as Han, Papyan & Donoho do.

    The loss is
    `L = (1/2N) sum ||W h + b - e_y||^2 + (decay/2) (||W||^2 + ||b||^2)`, and
    `L = nc1 + nc23 + perp` holds exactly, for classes of any sizes. With
    `p_c = n_c / N`, `h~ = [h; 1]`, class means `m_c` of `h~`, their spread
    `S_W`, and the least-squares head `W_LS`:

    * `nc1 = (1/2) tr W_LS (S_W + decay I) W_LS'`,
    * `nc23 = (1/2) sum_c p_c ||W_LS m_c - e_c||^2`,
    * `perp = (1/2) tr (W - W_LS) A (W - W_LS)'`,
      `A = S_W + sum_c p_c m_c m_c' + decay I`.

    A head without bias is compared with the best head without bias. Which
    `decay` a compiled model has is `nc_keras.metrics.equivalent_decay`.

    Args:
        features: Array of shape `(N, D)`.
        labels: Integer or one-hot labels.
        kernel: Array of shape `(D, C)`.
        bias: Array of shape `(C,)` or `None`.
        decay: Float, the weight decay of kernel and bias.

    Returns:
        An `MSEDecomposition`.

    Raises:
        ValueError: If shapes do not fit, a class has no example, or `decay`
            is negative.

    Example:

    >>> frame = nc_keras.geometry.simplex_etf(3, 8, seed=0)
    >>> parts = nc_keras.metrics.mse_decomposition(
    ...     np.repeat(frame, 5, axis=0), np.repeat([0, 1, 2], 5), frame.T
    ... )
    >>> parts.nc1 < 1e-12 and parts.nc23 > 0.1
    True

    Reference:

    - [Han, Papyan & Donoho, 2022](https://arxiv.org/abs/2106.02073), in the
      form of the authors' notebook, extended to classes of any sizes.
    """
    kernel, bias = validate_head(kernel, bias)
    labels, classes = class_labels(labels, len(kernel))
    statistics = ClassStatistics.from_features(features, labels, classes)
    validate_shapes(statistics.means, classes, kernel, None)
    return decomposition_of(statistics, kernel, bias, decay)


def equivalent_decay(model: Any) -> float | None:
    """The `decay` of `mse_decomposition` that a compiled model trains with.

    `nc_keras.optimizers.SGD` and its like add `w` times a weight to its
    gradient, which is the penalty `(w/2) ||W||^2`. Beside the mean over
    classes, `(1/NC) sum`, that is the decay `C w / 2` beside the loss
    `(1/2N) sum`; beside the sum over classes it is `w / 2`.

    Args:
        model: A compiled `keras.Model`, whose loss is `nc_keras.losses.MSE`
            or Keras' mean squared error.

    Returns:
        The decay; or `None` if the loss is another one, or the optimizer's
        decay is not a penalty of the loss.

    Example:

    >>> model = nc_keras.models.MLP((4,), 10, widths=(8,))
    >>> model.compile(
    ...     nc_keras.optimizers.SGD(0.1, weight_decay=5e-4),
    ...     loss=nc_keras.losses.MSE(),
    ... )
    >>> print(round(nc_keras.metrics.equivalent_decay(model), 6))
    0.0025
    """
    if not getattr(model, "compiled", False):
        raise ValueError(
            "The model must be a `keras.Model` that was compiled, with "
            "`model.compile(optimizer, loss)`. "
            f"Received: model of type {type(model).__name__}."
        )
    loss, optimizer = model.loss, model.optimizer
    if not is_squared_error(loss):
        return None
    # Under mixed_float16 the loss is scaled by an optimizer around it.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    decay = optimizer.weight_decay or 0.0
    if decay and not isinstance(optimizer, SGD):
        return None
    outputs = getattr(model, "outputs", None)
    classes = outputs[0].shape[-1] if outputs else None
    if getattr(loss, "class_reduction", "mean") == "sum":
        classes = 1
    return None if classes is None else decay / 2 * classes


def is_squared_error(loss: Any) -> bool:
    """Whether a compiled loss is the squared error, averaged over examples.

    Args:
        loss: The loss of a model, in any form that Keras takes.
    """
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if loss is keras.losses.mean_squared_error:
        return True
    if not isinstance(loss, MSE | keras.losses.MeanSquaredError):
        return False
    if getattr(loss, "targets", "labels") == "soft":
        return False  # Other targets than the labels that are measured.
    # A sum over the batch would change with its size.
    return loss.reduction not in ("sum", None, "none")


def decomposition_of(
    statistics: ClassStatistics,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    decay: float = 0.0,
) -> MSEDecomposition:
    """Decomposes the loss from class statistics with their scatter.

    Args:
        statistics: The `ClassStatistics`.
        kernel: Array of shape `(C, D)`, float64.
        bias: Array of shape `(C,)` or `None`.
        decay: As in `mse_decomposition`.
    """
    if not decay >= 0:
        raise ValueError(
            f"`decay` must not be negative. Received: decay={decay}."
        )
    present_classes(statistics.counts)
    shares = np.sqrt(statistics.counts / statistics.counts.sum())
    with one_thread():
        at_means, within = _design(statistics, shares, bias is not None)
        head = kernel if bias is None else np.c_[kernel, bias]
        targets = np.diag(shares)
        best = _least_squares(at_means, within, targets, decay)

    def loss(weights):
        """Twice the loss at the means, and of spread and decay."""
        spread = np.sum((within @ weights.T) ** 2)
        return (
            np.sum((at_means @ weights.T - targets) ** 2),
            spread + decay * np.sum(weights**2),
        )

    nc23, nc1 = loss(best)
    shift = head - best
    perp = np.sum((at_means @ shift.T) ** 2) + np.sum((within @ shift.T) ** 2)
    perp += decay * np.sum(shift**2)
    dim = statistics.means.shape[1]
    return MSEDecomposition(
        total=float(sum(loss(head)) / 2),
        nc1=float(nc1 / 2),
        nc23=float(nc23 / 2),
        perp=float(perp / 2),
        kernel=best[:, :dim].T,
        bias=np.zeros(len(best)) if bias is None else best[:, dim],
    )


def _design(statistics, shares, has_bias):
    """Rows whose squares are those of the loss at the means, and within."""
    values, vectors = np.linalg.eigh(
        statistics.scatter / statistics.counts.sum()
    )
    within = (vectors * np.sqrt(np.maximum(values, 0.0))).T
    at_means = statistics.means
    if has_bias:
        at_means = np.c_[at_means, np.ones(len(at_means))]
        within = np.c_[within, np.zeros(len(within))]
    return at_means * shares[:, None], within


def _least_squares(at_means, within, targets, decay):
    """The best weights, by a factorisation of the rows: nothing squared."""
    size = at_means.shape[1]
    rows = [at_means, within]
    if decay:
        rows.append(np.sqrt(decay) * np.eye(size))
    rows = np.concatenate(rows)
    wanted = np.zeros((len(rows), len(targets)))
    wanted[: len(targets)] = targets
    return np.linalg.lstsq(rows, wanted, rcond=None)[0].T
