"""Class labels as people hand them over, checked and made integers."""

from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import real_array
from nc_keras.geometry import validate_num_classes

# So many classes are taken from a label alone: more is rather a wrong label.
_MOST_CLASSES = 10**7
# How far from 1 probabilities add up that have been rounded to bfloat16.
_ROUNDED = 0.01
# Up to here a float dtype holds every integer.
_LARGEST_INTEGER = {"bfloat16": 2**8, "float16": 2**11, "float32": 2**24}
_SHORT = ("bool", "int8", "uint8", "int16", "uint16")


def class_labels(
    labels: Any, num_classes: int | None = None
) -> tuple[np.ndarray, int]:
    """Returns integer labels and the number of classes.

    Args:
        labels: Integer array of shape `(N,)` or `(N, 1)`, or one-hot array of
            shape `(N, C)` and any dtype.
        num_classes: Integer or `None`. `None` takes the width of one-hot
            labels, or the largest integer label plus one.

    Returns:
        An int64 array of shape `(N,)` with values in `0 .. C - 1`, and `C`.

    Raises:
        ValueError: If the labels are empty, fractional, negative or too
            large, if one-hot rows do not hold a single 1 or have another
            width than `num_classes`, or if `C < 2`.
    """
    labels = real_array(labels, "Labels")
    if num_classes is not None:
        num_classes = validate_num_classes(num_classes)
    if labels.ndim == 2 and labels.shape[1] > 1:
        return _from_one_hot(labels, num_classes)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not labels.size:
        raise ValueError(
            "Labels must be integers of shape (N,) or one-hot of shape "
            "(N, C), with N > 0. "
            f"Received: labels of shape {labels.shape}."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            "Labels of shape (N,) must be integers; convert them with "
            '`labels.astype("int32")` if they are whole numbers. '
            f"Received: labels of dtype {labels.dtype}."
        )
    if num_classes is None:
        num_classes = max(int(labels.max()) + 1, 1)
        _refuse_codes(num_classes)
    num_classes = validate_num_classes(num_classes)
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if outside.size:
        raise ValueError(
            f"Labels must be in 0 .. {num_classes - 1}. Received: label "
            f"{labels[outside[0]]} at index {outside[0]}, and "
            f"{outside.size} such labels in all."
        )
    return labels.astype("int64"), num_classes


def partial_labels(labels: Any, num_classes: int | None = None) -> np.ndarray:
    """Returns integer labels of a part of the examples, as `class_labels`.

    Args:
        labels: As in `class_labels`.
        num_classes: Integer, or `None` where other parts may have more.
    """
    labels = real_array(labels, "Labels")
    if num_classes is None and (labels.ndim != 2 or labels.shape[1] == 1):
        num_classes = _MOST_CLASSES
    return class_labels(labels, num_classes)[0]


def one_hot_rows(labels: Any, outputs: Any, rows: str = "labels") -> Any:
    """Returns the one-hot rows of labels, on the device.

    A row whose label names no class is NaN: it cannot be refused there
    without waiting for its value, and a row of zeros would turn a wrong label
    into a wrong number.

    Args:
        labels: Tensor of integers of shape `(...)` or `(..., 1)`, of any
            dtype, or of one-hot rows of shape `(..., C)`.
        outputs: Tensor of shape `(..., C)`, whose dtype the result has.
        rows: `"labels"` for rows of one 1; `"soft"` if they may be any
            probabilities of the classes, `"multi_hot"` any zeros and ones.

    Returns:
        A tensor of shape `(..., C)`.

    Raises:
        ValueError: If the shapes do not fit each other, if `C < 2`, or if the
            labels come in a dtype that cannot hold every class.
    """
    form = _form(labels, outputs)
    if form == "one_hot":
        return _valid_rows(labels, outputs.dtype, rows)
    if form == "column":
        labels = ops.squeeze(labels, axis=-1)
    classes = outputs.shape[-1]
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if classes > _LARGEST_INTEGER.get(dtype, classes):
        raise ValueError(
            f"{dtype} cannot tell {classes} classes apart. Give the loss "
            f'`dtype="float32"`. Received: labels of dtype {dtype}.'
        )
    if dtype in _SHORT:
        labels = ops.cast(labels, "int32")
    numbers = ops.cast(ops.arange(classes, dtype="int32"), labels.dtype)
    member = labels[..., None] == numbers
    named = ops.any(member, axis=-1, keepdims=True)
    # Not 0 / 0, which XLA takes for 0 where it knows of a mask.
    return ops.where(named, ops.cast(member, outputs.dtype), float("nan"))


def without_ignored(labels: Any, outputs: Any, weights: Any) -> Any:
    """Returns labels with class 0 for the examples that do not count.

    What is ignored may carry any label; here it gets a valid one.

    Args:
        labels: Tensor, as in `one_hot_rows`.
        outputs: Tensor of shape `(..., C)`.
        weights: Sample weights or a mask, as Keras' losses take them; what is
            zero or false does not count.

    Raises:
        ValueError: If the shapes of labels and outputs do not fit each other.
    """
    form = _form(labels, outputs)
    sizes, rank = tuple(outputs.shape), len(outputs.shape) - 1
    counted = ops.cast(ops.convert_to_tensor(weights), "bool")
    if len(counted.shape) > rank and counted.shape[-1] == 1:
        counted = ops.squeeze(counted, axis=-1)
    if len(counted.shape) == 1 and rank == 2 and sizes[1] == 1:
        counted = counted[:, None]
    if form != "integer":
        counted = counted[..., None]
    valid = ops.arange(sizes[-1]) == 0 if form == "one_hot" else 0
    return ops.where(counted, labels, ops.cast(valid, labels.dtype))


def weighted_rows(
    labels: Any, features: Any, num_classes: int, weights: Any = None
) -> Any:
    """Returns the one-hot rows of labels, times the weights of the examples.

    Args:
        labels: Tensor, as in `one_hot_rows`, of `B` examples.
        features: Tensor of shape `(B, D)`, whose dtype the result has.
        num_classes: Integer, the number of classes `C`.
        weights: `(B,)`, `(B, 1)` or a scalar, or `None`. An example of weight
            0 may have any label.

    Returns:
        A tensor of shape `(B, C)`.
    """
    like = ops.repeat(ops.zeros_like(features[:, :1]), num_classes, axis=1)
    if weights is None:
        return one_hot_rows(labels, like)
    weights = ops.convert_to_tensor(weights)
    labels = without_ignored(labels, like, weights)
    weights = ops.reshape(ops.cast(weights, like.dtype), (-1, 1))
    return one_hot_rows(labels, like) * weights


def _form(labels, outputs):
    """Whether labels are `integer`, a `column` of them, or `one_hot`."""
    shape, expected = tuple(labels.shape), tuple(outputs.shape)
    received = f"Received: labels of shape {shape}, outputs of {expected}."
    if len(expected) < 2 or expected[-1] in (0, 1):
        raise ValueError(
            "One column per class is needed, and at least two classes; for "
            f"two classes use two outputs. {received}"
        )
    for form, fitting in (
        ("one_hot", expected),
        ("column", (*expected[:-1], 1)),
        ("integer", expected[:-1]),
    ):
        if _fit(shape, fitting):
            return form
    raise ValueError(
        f"Labels must be integers of shape {expected[:-1]} or one-hot of "
        f"shape {expected}. {received}"
    )


def _refuse_codes(num_classes):
    if num_classes > _MOST_CLASSES:
        raise ValueError(
            f"Labels must be class numbers, counted from 0. If there are "
            f"{num_classes} classes, say so with `num_classes`. "
            f"Received: label {num_classes - 1}."
        )


def _fit(shape, expected):
    """Whether two shapes agree where both are known."""
    return len(shape) == len(expected) and all(
        None in sizes or sizes[0] == sizes[1]
        for sizes in zip(shape, expected, strict=True)
    )


def _valid_rows(rows, dtype, kind):
    """Rows of a kind as they are, and NaN in place of any other row."""
    if keras.backend.standardize_dtype(rows.dtype) == "bool":
        rows = ops.cast(rows, dtype)
    if kind == "soft":
        rows = ops.cast(rows, dtype)
        total = ops.sum(ops.cast(rows, "float32"), axis=-1, keepdims=True)
        valid = ops.all(rows >= 0, axis=-1, keepdims=True)
        valid = valid & (ops.abs(total - 1) < _ROUNDED)
        return ops.where(valid, rows, float("nan"))
    valid = ops.all((rows == 0) | (rows == 1), axis=-1, keepdims=True)
    rows = ops.cast(rows, dtype)
    if kind == "labels":
        valid = valid & (ops.sum(rows, axis=-1, keepdims=True) == 1)
    return ops.where(valid, rows, float("nan"))


def _from_one_hot(labels, num_classes):
    width = labels.shape[1]
    if num_classes is not None and width != num_classes:
        raise ValueError(
            f"One-hot labels must have {num_classes} columns, one per class. "
            f"Received: labels of shape {labels.shape}."
        )
    if not labels.size:
        raise ValueError(f"Received: empty labels of shape {labels.shape}.")
    ones = labels == 1
    wrong = np.flatnonzero((ones.sum(1) != 1) | (labels != ones).any(1))
    if wrong.size:
        raise ValueError(
            "One-hot labels must hold a single 1 in each row; targets of a "
            "regression are for `nc_keras.regression`. Received: "
            f"{labels[wrong[0]]} at row {wrong[0]}, and {wrong.size} such "
            "rows in all."
        )
    return ones.argmax(1).astype("int64"), width
