"""The derivative of a loss by the logits, and its second one."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from nc_keras.losses.ce import CE
from nc_keras.losses.mse import MSE
from nc_keras.measuring.heads import loss_of_output

_CE = (
    CE,
    keras.losses.CategoricalCrossentropy,
    keras.losses.SparseCategoricalCrossentropy,
)
_FUNCTIONS = {
    "ce": (
        keras.losses.categorical_crossentropy,
        keras.losses.sparse_categorical_crossentropy,
    ),
    "mse": (keras.losses.mean_squared_error,),
}


def kind_of(
    model: keras.Model, num_outputs: int, loss: Any = None
) -> tuple[str, float] | None:
    """What loss it is, and its scale `s` beside `|f - y|^2 / 2`.

    Args:
        model: A compiled model.
        num_outputs: Integer, `C`.
        loss: `"ce"`, `"mse"`, or `None` for that of the model.

    Returns:
        `("mse", s)`, `("ce", 1.0)`, or `None` for another loss.
    """
    if loss in ("ce", "mse"):
        return loss, 1.0
    if loss is not None:
        raise ValueError(
            f'`loss` must be "ce", "mse" or `None`. Received: {loss=}.'
        )
    names = getattr(model, "output_names", None) or [""]
    found = loss_of_output(model, names[0])
    if isinstance(found, _CE) or found in _FUNCTIONS["ce"]:
        return "ce", 1.0
    if isinstance(found, MSE):
        mean = found.class_reduction == "mean"
        return "mse", 2.0 / num_outputs if mean else 2.0
    is_keras = isinstance(found, keras.losses.MeanSquaredError)
    if is_keras or found in _FUNCTIONS["mse"]:
        return "mse", 2.0 / num_outputs
    return None


def residual_of(
    model: keras.Model, outputs: np.ndarray, targets: np.ndarray, loss: Any
) -> np.ndarray:
    """The derivative of each example's loss by its logits, up to the scale.

    Args:
        model: A compiled model.
        outputs: Array of shape `(N, C)`, the logits.
        targets: Array of shape `(N, C)`.
        loss: As in `kind_of`.

    Raises:
        ValueError: If the loss is neither of the two kinds.
    """
    kind = kind_of(model, targets.shape[1], loss)
    if kind is None:
        raise ValueError(
            "The residual is known of square losses and cross-entropy. "
            'Compile the model with one of them, or pass `loss="mse"` or '
            f'"ce". Received: a model with the loss {model.loss!r}.'
            if getattr(model, "loss", None) is not None
            else "The model is not compiled, so that its residual is not "
            'known. Pass `loss="mse"` or "ce". Received: loss=None.'
        )
    predicted = probabilities(outputs) if kind[0] == "ce" else outputs
    return predicted - targets


def probabilities(outputs: np.ndarray) -> np.ndarray:
    """The softmax of logits."""
    shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def curvature_root(kind: tuple[str, float], outputs: np.ndarray) -> np.ndarray:
    """The square root of the loss's second derivative, `(N, C, C)`.

    Args:
        kind: From `kind_of`.
        outputs: Array of shape `(N, C)`, the logits.

    Example:

    >>> from nc_keras.kernel.residual import curvature_root
    >>> curvature_root(("mse", 4.0), np.zeros((1, 2)))[0].round(9)
    array([[2., 0.],
           [0., 2.]])
    """
    name, scale = kind
    identity = np.eye(outputs.shape[1])
    if name == "mse":
        return np.broadcast_to(
            np.sqrt(scale) * identity, (*outputs.shape, outputs.shape[1])
        )
    p = probabilities(outputs)
    values, vectors = np.linalg.eigh(
        p[:, :, None] * identity - p[:, :, None] * p[:, None]
    )
    roots = np.sqrt(np.maximum(values, 0))
    return np.einsum("nij,nj,nkj->nik", vectors, roots, vectors)
