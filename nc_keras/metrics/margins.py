"""Margins of outputs, and the errors that they make."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from nc_keras.arguments import checked
from nc_keras.labels import class_labels
from nc_keras.labels import partial_labels
from nc_keras.measuring.extractor import FeatureExtractor


@checked(outputs="array", rho="number")
def normalized_margins(outputs: Any, labels: Any, rho: float = 1.0) -> Any:
    """Margins of the outputs, divided by the product of the norms.

    `(g_y - max_{j != y} g_j) / rho`; for a single output and labels +1 and
    -1, `y g / rho`.

    Args:
        outputs: Array of shape `(N, C)`, the outputs `g` of the network.
        labels: Integer or one-hot labels; or +1 and -1 if `C = 1`.
        rho: Float, positive.

    Returns:
        A float64 array of shape `(N,)`.

    Raises:
        ValueError: If shapes do not fit, or `rho` is not positive.

    Example:

    >>> from nc_keras.theory import square_loss
    >>> square_loss.normalized_margins([[3.0, 1.0], [0.0, 4.0]], [0, 1], 2.0)
    array([1., 2.])

    Reference:

    - [Xu et al., 2023](https://doi.org/10.34133/research.0024), as in
      `train_binary.py` of GraceXu182/binaryclassifiers_squareloss for two
      classes.
    """
    if not rho > 0:
        raise ValueError(f"`rho` must be positive. Received: rho={rho}.")
    outputs = np.asarray(outputs, "float64")
    if outputs.ndim != 2:
        raise ValueError(
            "`outputs` must be of shape (N, C). "
            f"Received: an array of shape {outputs.shape}."
        )
    if outputs.shape[1] == 1:
        signs = _signs(labels, len(outputs))
        return signs * outputs[:, 0] / rho
    labels, classes = class_labels(labels, outputs.shape[1])
    if len(labels) != len(outputs) or classes != outputs.shape[1]:
        raise ValueError(
            "There must be one label for each row of outputs. Received: "
            f"{len(labels)} labels and outputs of shape {outputs.shape}."
        )
    return _margins(outputs, labels) / rho


@checked(y="array", width="integer")
def one_hot(y: Any, width: int) -> np.ndarray:
    """Targets of the square loss, one row per example.

    Args:
        y: Integer or one-hot labels; or +1 and -1 if there is one output.
        width: Integer, the number of outputs.

    Returns:
        A float64 array of shape `(N, width)`.

    Raises:
        ValueError: If labels and outputs do not fit.

    Example:

    >>> from nc_keras.theory import square_loss
    >>> square_loss.one_hot([1, 0], 2)
    array([[0., 1.],
           [1., 0.]])
    """
    if width == 1:
        return _signs(y, np.shape(y)[0])[:, None]
    labels, classes = class_labels(y, width)
    if classes != width:
        raise ValueError(
            "There must be an output for each class. "
            f"Received: {classes} classes and {width} outputs."
        )
    return np.eye(width)[labels]


def _margins(outputs, labels):
    rows = np.arange(len(labels))
    others = outputs.copy()
    others[rows, labels] = -np.inf
    return outputs[rows, labels] - others.max(axis=1)


def _signs(labels, count):
    signs = np.asarray(labels, "float64").reshape(-1)
    if len(signs) != count or not np.isin(signs, (-1.0, 1.0)).all():
        raise ValueError(
            "For a single output the labels must be +1 and -1, one for each "
            f"example. Received: {count} outputs and labels "
            f"{np.unique(signs)[:5]} of shape {np.shape(labels)}."
        )
    return signs


@checked(data="data", batch_size="integer")
def errors_of(
    model: keras.Model | FeatureExtractor,
    data: Any,
    batch_size: int | None = None,
) -> tuple[float, float]:
    """The share of wrong answers, and that of margins of at most one.

    Args:
        model: A built model whose outputs are raw, one per class; or, for many
            calls, `nc_keras.FeatureExtractor(model, features=model)`, which
            builds its function once.
        data: Tuple `(x, y)` of arrays, or a dataset as in `nc_keras.measure`.
        batch_size: Integer; by default one that suits the model.

    Returns:
        Two floats: the error, and the margin error, in which an example
        counts unless the output of its label exceeds all others by more than
        one. Wrong answers count in both.

    Raises:
        ValueError: If an output is not finite, or the labels are invalid.

    Example:

    >>> from nc_keras.theory import bounds
    >>> layer = keras.layers.Dense(2, use_bias=False)
    >>> model = keras.Sequential([keras.Input((2,)), layer])
    >>> _ = layer.kernel.assign(np.eye(2))
    >>> x = np.array([[3.0, 0.0], [0.5, 0.0], [0.0, 0.9], [0.0, 2.0]])
    >>> bounds.errors_of(model, (x, [0, 0, 1, 0]))
    (0.25, 0.75)
    """
    if isinstance(model, keras.Model):
        model = FeatureExtractor(model, features=model)
    elif not isinstance(model, FeatureExtractor):
        raise TypeError(
            "`model` must be a `keras.Model` or a `nc_keras.FeatureExtractor`. "
            f"Received: model of type {type(model).__name__}."
        )
    x, y = data if isinstance(data, tuple) else (data, None)
    wrong = narrow = count = 0
    for outputs, labels in model.batches(x, y, batch_size):
        scores = outputs.astype("float64")
        if not np.isfinite(scores).all():
            raise ValueError(
                "The outputs of the model must be finite. Received: NaN or "
                f"infinity of model {model.model.name!r}."
            )
        labels = partial_labels(labels, scores.shape[1])
        wrong += np.sum(scores.argmax(axis=-1) != labels)
        narrow += np.sum(_margins(scores, labels) <= 1)
        count += len(scores)
    return float(wrong / count), float(narrow / count)
