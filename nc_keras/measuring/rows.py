"""Rows of features, and the labels of those that count."""

import math

import numpy as np


def rows_of(
    features: np.ndarray, labels: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Gives each feature vector a row, and each row a label.

    Args:
        features: Array of shape `(B, ..., D)`.
        labels: Integers of shape `(B, ...)`, or one-hot rows.
        name: String, the layer of the features.

    Returns:
        Features of shape `(n, D)`, labels of shape `(n,)` or `(n, C)`, and
        the shape `(B, ...)`.

    Raises:
        ValueError: If there is no label for each vector.
    """
    shape = features.shape[:-1]
    if labels.shape[: len(shape)] != shape and math.prod(shape[1:]) == 1:
        shape = shape[:1]
    rank = labels.ndim - len(shape)
    if labels.shape[: len(shape)] != shape or rank not in (0, 1):
        _raise_misfit(features, labels, name)
    features = features.reshape(-1, features.shape[-1])
    labels = labels.reshape(-1, *labels.shape[len(shape) :])
    if labels.shape[1:] == (1,):
        labels = labels[:, 0]
    return features, labels, shape


def _raise_misfit(features, labels, name):
    received = (
        f"Received: features of shape {features.shape} at {name!r}, and "
        f"labels of shape {labels.shape}."
    )
    lead = features.shape[:-1]
    if features.ndim > 2 and labels.shape[:1] == lead[:1]:
        raise ValueError(
            f"Each example has {math.prod(lead[1:])} feature vectors. Choose "
            '`pooling="average"` for their mean, or `pooling="flatten"` for '
            "all their values in one vector; or give each of them a label, "
            f"in labels of shape {lead}. {received}"
        )
    raise ValueError(
        f"Labels must be integers of shape {lead}, or one-hot with one more "
        f"axis. {received}"
    )


def counted_rows(
    labels: np.ndarray,
    shape: tuple[int, ...],
    mask: np.ndarray | None,
    ignore_label: int | None,
) -> np.ndarray | None:
    """Returns which rows count, or `None` for all of them.

    Args:
        labels: Those of the rows.
        shape: The shape that they had.
        mask: Array of this shape, or one value an example; zero leaves out.
        ignore_label: Integer label that is left out.

    Raises:
        ValueError: If the mask does not fit, or labels to ignore are one-hot.
    """
    keep = None
    if mask is not None:
        given = mask.shape
        if mask.shape == (*shape, 1):
            mask = mask[..., 0]
        if not mask.ndim or mask.shape != shape[: mask.ndim]:
            raise ValueError(
                "A mask, or sample weights, must have the shape of the "
                f"integer labels, {shape}, or one value per example. "
                f"Received: a mask of shape {given}."
            )
        missing = (1,) * (len(shape) - mask.ndim)
        mask = np.broadcast_to(mask.reshape(mask.shape + missing), shape)
        keep = mask.reshape(-1) != 0
    if ignore_label is not None:
        if labels.ndim > 1:
            raise ValueError(
                "`ignore_label` needs integer labels; use `mask` for one-hot "
                f"labels. Received: ignore_label={ignore_label}, labels of "
                f"{labels.shape[1]} columns."
            )
        counts = labels != ignore_label
        keep = counts if keep is None else keep & counts
    return keep
