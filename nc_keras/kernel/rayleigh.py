"""Where in the spectrum labels and residual lie, without a kernel."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from nc_keras.arguments import checked
from nc_keras.kernel.examples import examples_of
from nc_keras.kernel.network import Network
from nc_keras.kernel.network import network_of
from nc_keras.kernel.residual import residual_of
from nc_keras.kernel.spectrum import Operator
from nc_keras.kernel.targets import one_hot


@dataclasses.dataclass(frozen=True)
class Rayleigh:
    """Quotients `v' G v / ||v||^2` of the full tangent kernel.

    Args:
        labels: Float, that of the labels.
        centred_labels: Float, that of the labels minus their mean.
        residual: Float, that of the residual, or NaN if it is zero. Beside
            the largest eigenvalue it says where in the spectrum the network
            learns.
    """

    labels: float
    centred_labels: float
    residual: float


@checked(batch_size="integer")
def rayleigh(
    model: keras.Model | Network,
    x: Any,
    y: Any,
    loss: Any = None,
    batch_size: int = 64,
) -> Rayleigh:
    """Computes Rayleigh quotients of the tangent kernel, and no kernel.

    `y' G y` is the square of the gradient of `sum(y * logits)`: one backward
    pass over the data for each quotient, and the memory of the weights.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x, y = np.random.default_rng(0).normal(size=(6, 4)), np.arange(6) % 3
    >>> found = nc_keras.kernel.rayleigh(model, x, y, loss="mse")
    >>> found.residual < nc_keras.kernel.lambda_max(model, x) * 1.001
    True

    Args:
        model: A built `keras.Model` whose output is a vector, or its
            `nc_keras.kernel.Network`.
        x: Array (or structure of arrays) of `N` examples.
        y: Integer or one-hot labels, or targets of shape `(N, C)`.
        loss: `"mse"` for the residual `f - y`, `"ce"` for `softmax(f) - y`,
            or `None` for that of the loss the model was compiled with.
        batch_size: Integer, the examples of one pass.

    Returns:
        A `Rayleigh`.

    Raises:
        ValueError: If the loss is another one, or as in `gram`.
    """
    x = examples_of(x)
    operator = Operator(network_of(model, x, batch_size), x)
    targets = one_hot(y, operator.shape[1])[1]
    if len(targets) != operator.shape[0]:
        raise ValueError(
            "There must be one label per example. "
            f"Received: {operator.shape[0]} examples, {len(targets)} labels."
        )
    residual = residual_of(
        operator.network.model, operator.outputs(), targets, loss
    )
    return Rayleigh(
        *(
            _quotient(operator, vector)
            for vector in (targets, targets - targets.mean(axis=0), residual)
        )
    )


def _quotient(operator, vector):
    norm = float(np.linalg.norm(vector))
    return operator.square(vector / norm) if norm else math.nan
