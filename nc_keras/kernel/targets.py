"""Labels as the targets of a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from nc_keras.arguments import real_array
from nc_keras.labels import class_labels


def one_hot(
    y: Any, num_outputs: int | None = None
) -> tuple[np.ndarray | None, np.ndarray]:
    """Returns the classes, if there are any, and targets of shape `(N, C)`.

    Args:
        y: Integer or one-hot labels, or real targets.
        num_outputs: Integer, `C`, or `None` for what `y` tells.

    Raises:
        ValueError: If they do not fit `num_outputs`.

    Example:

    >>> from nc_keras.kernel.targets import one_hot
    >>> one_hot([1, 0])[1]
    array([[0., 1.],
           [1., 0.]])
    >>> one_hot([0.5, -0.5])[0] is None
    True
    """
    y = real_array(y, "`y`")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    is_real = y.ndim == 1 and not _is_integer(y)
    if is_real or (y.ndim == 1 and num_outputs == 1):
        targets, labels = y[:, None], y if _is_integer(y) else None
    elif y.ndim == 2 and not _is_one_hot(y):
        targets, labels = y, None
    else:
        if y.min() < 0:
            raise ValueError(
                f"Labels must not be negative. Received: label {y.min()}."
            )
        labels = class_labels(y, num_outputs)[0]
        classes = y.shape[1] if y.ndim == 2 else num_outputs
        targets = np.eye(classes or labels.max() + 1)[labels]
    targets = np.asarray(targets, dtype="float64")
    if num_outputs is not None and targets.shape[1] != num_outputs:
        raise ValueError(
            f"`y` must be for {num_outputs} outputs, those of the model. "
            f"Received: y of shape {y.shape}."
        )
    if not np.isfinite(targets).all():
        raise ValueError("`y` must be finite. Received: NaN or infinity.")
    return labels, targets


def _is_integer(y):
    return np.issubdtype(y.dtype, np.integer) or y.dtype == bool


def _is_one_hot(y):
    return bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())
