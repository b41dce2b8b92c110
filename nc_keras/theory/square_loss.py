"""Square loss with normalised weights: rho, directions, equilibrium.

A network that is homogeneous in the weights of each layer is `f_W = rho f_V`
with `||V_k|| = 1`. Xu et al. follow gradient descent on

`L = (1/N) sum ||rho f_V(x_n) - y_n||^2 + lambda rho^2`, `||V_k|| = 1`.

With `mu = (1/N) sum <y_n, f_n>` and `m = (1/N) sum ||f_n||^2` its flow is

`rho' = 2 (mu - rho (m + lambda))`,

`V_k' = (2 rho/N) sum_n (J_nk' e_n - V_k <e_n, f_n>)`, `e_n = y_n - rho f_n`,

where `J_nk` is the derivative of `f_n` by `V_k`. Targets are rows of one-hot
labels, or +1 and -1 for a single output. The form of the loss and the notation
are the paper's as we know them; the formulas are derived here, and hold
against training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from nc_keras.arguments import checked
from nc_keras.graph import chain_of
from nc_keras.layers.rho import Rho
from nc_keras.metrics.margins import normalized_margins as normalized_margins
from nc_keras.metrics.margins import one_hot
from nc_keras.theory.integration import integrate
from nc_keras.weights import homogeneous_weights
from nc_keras.weights import rho as rho_of

# Layers beside dense ones that do no more than their activation says.
_PASSED = (
    keras.layers.InputLayer,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    Rho,
)


@checked(rho="number", outputs="array", targets="array", decay="number")
def rho_rate(
    rho: float, outputs: Any, targets: Any, decay: float = 0.0
) -> float:
    """`rho' = 2 (mu - rho (m + lambda))`, minus the derivative of the loss.

    Args:
        rho: Float, the product of the norms.
        outputs: Array of shape `(N, C)`, outputs `f_n` of the network whose
            weights have norm one.
        targets: Array of the same shape.
        decay: Float, not negative, `lambda`.

    Returns:
        Float.

    Raises:
        ValueError: If shapes differ, or `decay` is negative.

    Example:

    >>> from nc_keras.theory import square_loss
    >>> f, y = np.array([[0.5], [-0.5]]), np.array([[1.0], [-1.0]])
    >>> square_loss.rho_rate(1.0, f, y, decay=0.25)
    0.0

    Reference:

    - [Xu et al., 2023](https://doi.org/10.34133/research.0024).
    """
    mu, second = _moments(outputs, targets, decay)
    return float(2 * (mu - rho * (second + decay)))


@checked(outputs="array", targets="array", decay="number")
def equilibrium_rho(outputs: Any, targets: Any, decay: float = 0.0) -> float:
    """The `rho` at which it rests: `mu / (m + lambda)`.

    If all margins are equal, `<y_n, f_n> = mu` and `||f_n|| = mu`, it is
    `mu / (mu^2 + lambda)`, the outputs miss their targets by the share
    `lambda / (mu^2 + lambda)`, which is also the loss: the network with the
    largest margin has the smallest `rho` and the smallest loss.

    Args:
        outputs: As in `rho_rate`.
        targets: As in `rho_rate`.
        decay: As in `rho_rate`.

    Returns:
        Float; NaN where all outputs are zero and there is no decay.

    Raises:
        ValueError: As `rho_rate`.

    Example:

    >>> from nc_keras.theory import square_loss
    >>> f, y = np.array([[0.5], [-0.5]]), np.array([[1.0], [-1.0]])
    >>> square_loss.equilibrium_rho(f, y)
    2.0

    Reference:

    - [Xu et al., 2023](https://doi.org/10.34133/research.0024); Poggio &
      Liao, 2020, https://arxiv.org/abs/2101.00072.
    """
    mu, second = _moments(outputs, targets, decay)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(mu, second + decay))


@checked(norms="values", outputs="array", targets="array", decay="number")
def stationarity(
    norms: Sequence[float], outputs: Any, targets: Any, decay: float
) -> float:
    """How far a network with plain weight decay is from a stationary point.

    `max_k |lambda ||W_k||^2 - (1/N) sum <y_n - g_n, g_n>|` for the loss
    `(1/N) sum ||g_n - y_n||^2 + lambda sum_k ||W_k||^2`. It is 0 at every
    stationary point of a network that is homogeneous in each `W_k`: there,
    all layers have the same norm. Derived here (the gradient by `W_k`, times
    `W_k`).

    Args:
        norms: Floats, the Frobenius norm of each layer's weights.
        outputs: Array of shape `(N, C)`, the outputs `g` of the network.
        targets: Array of the same shape.
        decay: Float, not negative, `lambda`.

    Returns:
        Float, not negative.

    Raises:
        ValueError: If shapes differ, or `decay` is negative.

    Example:

    >>> from nc_keras.theory import square_loss
    >>> g, y = np.array([[0.8], [-0.8]]), np.array([[1.0], [-1.0]])
    >>> print(square_loss.stationarity([4.0, 4.0], g, y, 0.01).round(12))
    0.0

    Reference:

    - [Xu et al., 2023](https://doi.org/10.34133/research.0024), for the
      setting.
    """
    mu, second = _moments(outputs, targets, decay)
    squares = np.square(np.asarray(norms, "float64"))
    return np.max(np.abs(decay * squares - (mu - second)))


@dataclasses.dataclass(frozen=True, eq=False)
class SquareLossFlow:
    """The flow of `rho` and `V`, at some times.

    Attributes:
        times: Array of shape `(T,)`.
        rho: Array of shape `(T,)`.
        equilibrium: Array of shape `(T,)`, `equilibrium_rho` of the outputs
            at each time.
        outputs: Array of shape `(T, N, C)`, the outputs `f_n` of the network
            with weights of norm one.
        loss: Array of shape `(T,)`, with the penalty.
        kernels: List of the `V_k` at the last time, each of shape
            `(inputs, outputs)`.

    Args:
        times: See the attributes; so for the other arguments.

    Example:

    >>> model = nc_keras.models.HomogeneousNet((4,), 2, widths=(8,))
    >>> x, y = np.random.default_rng(0).normal(size=(6, 4)), np.arange(6) % 2
    >>> flow = nc_keras.theory.square_loss.flow(model, x, y, [0.0, 0.01])
    >>> bool(flow.loss[1] < flow.loss[0])
    True
    """

    times: np.ndarray
    rho: np.ndarray
    equilibrium: np.ndarray
    outputs: np.ndarray
    loss: np.ndarray
    kernels: list[np.ndarray]


@checked(model="model", x="array", times="array", decay="number", rtol="number")
def flow(
    model: keras.Model,
    x: Any,
    y: Any,
    times: Any,
    decay: float = 0.0,
    rtol: float = 1e-6,
    progress: bool = False,
) -> SquareLossFlow:
    """Integrates the flow of a dense network from its present weights.

    Plain gradient descent with a small rate `eta` on
    `nc_keras.models.Normalized(model, decay)` with the loss
    `nc_keras.losses.MSE(class_reduction="sum")`, on all examples at once,
    is at this flow's time `eta * steps`, up to an error of the order of
    `eta`. The integration takes some steps for each that gradient descent
    would need at its largest stable rate: many if `rho` begins large.

    Args:
        model: A built `keras.Model` of dense layers, homogeneous in each, as
            `nc_keras.models.HomogeneousNet(widths=...)` or a `Normalized`
            one. It is left as it is.
        x: Array of examples; more than two axes are flattened.
        y: Integer or one-hot labels; or +1 and -1 for a single output.
        times: Array of shape `(T,)`, increasing, not negative.
        decay: Float, not negative, `lambda`.
        rtol: Float, the relative tolerance of the integration.
        progress: Boolean, whether a progress bar is drawn.

    Returns:
        A `SquareLossFlow`.

    Raises:
        ValueError: If a layer is not dense or not homogeneous, naming it; if
            a number is out of range; or if the integration fails.

    Example:

    >>> model = nc_keras.models.HomogeneousNet((4,), 2, widths=(8,))
    >>> x, y = np.random.default_rng(0).normal(size=(6, 4)), np.arange(6) % 2
    >>> flow = nc_keras.theory.square_loss.flow(model, x, y, [0.0, 0.05], 0.01)
    >>> print(np.round([np.linalg.norm(v) for v in flow.kernels], 3))
    [1. 1.]

    Reference:

    - [Xu et al., 2023](https://doi.org/10.34133/research.0024).
    """
    weights = homogeneous_weights(model)
    network = _Network(model, weights, x, y, decay)
    start = np.concatenate(
        [[rho_of(model)], *((w.kernel / w.norm).ravel() for w in weights)]
    )
    # The kinks of ReLU would take the higher order from a longer method.
    path = integrate(
        network.rate, start, times, rtol, progress, "RK45", rtol * 1e-2
    )
    return network.flow(np.asarray(times, "float64"), path)


class _Network:
    """A dense ReLU network of normalised kernels, and its loss."""

    def __init__(self, model, weights, x, y, decay):
        for one in weights:
            if one.kernel.ndim != 2:
                raise ValueError(
                    "The flow is integrated for dense layers. Received: layer "
                    f"{one.name!r} with a kernel of shape {one.kernel.shape}."
                )
        self._shapes = [one.kernel.shape for one in weights]
        self._slopes = _slopes(model, weights)
        self._x = np.asarray(x, "float64").reshape(len(x), -1)
        self._targets = one_hot(y, self._shapes[-1][1])
        self._decay = decay
        if self._x.shape[1] != self._shapes[0][0]:
            raise ValueError(
                "The examples must be those that the first layer takes. "
                f"Received: x of shape {np.shape(x)} for {self._shapes[0][0]} "
                "inputs."
            )
        if len(self._x) != len(self._targets):
            raise ValueError(
                "There must be one label for each example. Received: "
                f"{len(self._x)} examples and {len(self._targets)} labels."
            )
        _validate_decay(decay)

    def rate(self, state):
        """`rho'` and every `V_k'`, in one row."""
        rho, kernels = state[0], self._split(state)
        layers = self._forward(kernels)
        outputs = layers[-1]
        errors = self._targets - rho * outputs
        count = len(errors)
        rates = [rho_rate(rho, outputs, self._targets, self._decay)]
        # <e_n, f_n> is the same for every layer: f is homogeneous in each.
        pulled = np.sum(errors * outputs)
        back = errors
        changes = []
        for index in reversed(range(len(kernels))):
            change = layers[index].T @ back - kernels[index] * pulled
            changes.append(2 * rho / count * change)
            back = back @ kernels[index].T
            slope = np.where(layers[index] > 0, 1.0, self._slopes[index - 1])
            back = back * slope
        return np.concatenate([rates, *(c.ravel() for c in changes[::-1])])

    def flow(self, times, states):
        outputs = np.stack([self._forward(self._split(s))[-1] for s in states])
        rho = states[:, 0]
        errors = rho[:, None, None] * outputs - self._targets
        loss = np.sum(errors**2, axis=(1, 2)) / len(self._targets)
        return SquareLossFlow(
            times=times,
            rho=rho,
            equilibrium=np.array(
                [
                    equilibrium_rho(f, self._targets, self._decay)
                    for f in outputs
                ]
            ),
            outputs=outputs,
            loss=loss + self._decay * rho**2,
            kernels=self._split(states[-1]),
        )

    def _forward(self, kernels):
        """The inputs of every layer, and the outputs."""
        layers = [self._x]
        for kernel, slope in zip(kernels, self._slopes, strict=True):
            z = layers[-1] @ kernel
            layers.append(np.where(z > 0, z, slope * z))
        return layers

    def _split(self, state):
        sizes = np.cumsum([1] + [a * b for a, b in self._shapes])
        return [
            state[begin:end].reshape(shape)
            for begin, end, shape in zip(
                sizes[:-1], sizes[1:], self._shapes, strict=True
            )
        ]


def _moments(outputs, targets, decay):
    """`mu` and `m`."""
    outputs = np.asarray(outputs, "float64")
    targets = np.asarray(targets, "float64")
    if outputs.ndim != 2 or outputs.shape != targets.shape or not len(outputs):
        raise ValueError(
            "`outputs` and `targets` must have one shape, (N, C). Received: "
            f"outputs of shape {outputs.shape}, targets of {targets.shape}."
        )
    _validate_decay(decay)
    count = len(outputs)
    return np.sum(outputs * targets) / count, np.sum(outputs**2) / count


def _validate_decay(decay):
    if not decay >= 0:
        raise ValueError(
            f"`decay` must not be negative. Received: decay={decay}."
        )


def _slopes(model, weights):
    """The slope for negative inputs of each activation, 1 where none is."""
    slopes, layers = [], [one.layer for one in weights]
    for layer, inner, _ in chain_of(model):
        if any(inner is one for one in layers):
            slopes.append(1.0)
        elif not isinstance(inner, _PASSED):
            raise ValueError(
                "The flow is of dense layers and their activations. Pass a "
                "model that begins with the first dense layer, and what that "
                f"sees as `x`. Received: layer {layer.name!r} of type "
                f"{type(inner).__name__}."
            )
        slope = _slope(inner)
        if slope is not None and slopes:
            slopes[-1] *= slope
    return slopes


def _slope(layer):
    if isinstance(layer, keras.layers.ReLU | keras.layers.LeakyReLU):
        return float(layer.negative_slope or 0.0)
    activation = getattr(layer, "activation", None)
    slopes = {keras.activations.relu: 0.0, keras.activations.leaky_relu: 0.2}
    return slopes.get(activation)
