"""What a measurement refuses, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from nc_keras.arguments import real_array
from nc_keras.errors import NonFiniteError


def validate_missing(missing):
    if not isinstance(missing, str) or missing not in ("raise", "skip"):
        raise ValueError(
            f'`missing` must be "raise" or "skip". Received: {missing=}.'
        )


def present_classes(counts: np.ndarray, missing: str = "raise") -> np.ndarray:
    """Indices of the classes with examples; raises if that is not all.

    Args:
        counts: Integer array of shape `(C,)`.
        missing: `"raise"` or `"skip"`.
    """
    validate_missing(missing)
    present = np.flatnonzero(counts)
    if len(present) == len(counts) or (missing == "skip" and len(present) > 1):
        return present
    absent = np.flatnonzero(counts == 0)
    names = ", ".join(map(str, absent[:10])) + ", ..." * (len(absent) > 10)
    hint = (
        "" if missing == "skip" else ' Pass `missing="skip"` to leave them out.'
    )
    raise ValueError(
        "Every class needs an example, and at least two are needed."
        f"{hint} Received: no example of {len(absent)} of {len(counts)} "
        f"classes: {names}."
    )


def validate_head(
    kernel: Any, bias: Any
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Returns `(C, D)` weights and `(C,)` bias in float64, or `None`s.

    Args:
        kernel: Array of shape `(D, C)` or `None`.
        bias: Array of shape `(C,)` or `None`.
    """
    if kernel is None:
        return None, None
    kernel = real_array(kernel, "`kernel`").astype("float64")
    if kernel.ndim != 2:
        raise ValueError(
            "`kernel` must have the shape (D, C). "
            f"Received: kernel of shape {kernel.shape}."
        )
    if bias is not None:
        bias = real_array(bias, "`bias`").astype("float64")
        if bias.shape != kernel.shape[1:]:
            raise ValueError(
                "`bias` must have one entry per class. Received: bias of shape "
                f"{bias.shape} and kernel of shape {kernel.shape}."
            )
    for name, values in (("kernel", kernel), ("bias", bias)):
        if values is not None and not np.isfinite(values).all():
            raise NonFiniteError(
                f"The head's {name} must be finite. Received: NaN or infinity "
                f"in {(~np.isfinite(values)).sum()} of {values.size} entries."
            )
    return kernel.T, bias


def validate_shapes(
    features: np.ndarray,
    num_classes: int | None,
    kernel: np.ndarray | None,
    train_means: np.ndarray | None,
) -> None:
    """Says so where head or train means do not fit the features."""
    dim = features.shape[1]
    if kernel is not None and kernel.shape != (num_classes, dim):
        raise ValueError(
            f"`kernel` must have the shape (D, C) = ({dim}, {num_classes}), "
            "as in `keras.layers.Dense`; pass the transpose of a (C, D) "
            f"matrix. Received: kernel of shape {kernel.T.shape}."
        )
    if train_means is None:
        return
    if train_means.shape != (num_classes, dim):
        raise ValueError(
            f"`train_means` must have the shape (C, D) = ({num_classes}, "
            f"{dim}). Received: shape {train_means.shape}."
        )
    whole = np.isfinite(train_means).all(axis=1)
    if whole.sum() < 2 or not np.isnan(train_means[~whole]).all():
        raise NonFiniteError(
            "`train_means` must be finite, but for rows of NaN of classes "
            "that the training set lacks, and at least two must be left. "
            f"Received: {(~whole).sum()} rows that are not finite."
        )


def validate_sizes(sizes: Any, num_classes: int) -> np.ndarray:
    """Returns the training examples of each class, as an array of integers.

    Raises:
        ValueError: If there is not a number, 0 or more, for each class.
    """
    array = real_array(sizes, "`train_counts`")
    if (
        array.shape != (num_classes,)
        or not (array >= 0).all()
        or not (array == np.round(array)).all()
        or not array.any()
    ):
        raise ValueError(
            "`train_counts` must have the number of training examples of each "
            f"of {num_classes} classes. Received: train_counts={sizes}."
        )
    return array.astype("int64")


def names_of(class_names: Iterable[str] | None, count: int) -> list[str]:
    """One name per class; numbers where there are none.

    Raises:
        ValueError: If there are more names than classes, or fewer.
    """
    if class_names is None:
        return [str(number) for number in range(count)]
    names = [str(name) for name in class_names]
    if len(names) != count:
        raise ValueError(
            f"`class_names` must be one name per class, {count} in all. "
            f"Received: {len(names)} names."
        )
    return names
