"""What labels of data of one's own must be."""

from typing import Any

import numpy as np


def labels_of(where: str, y: Any) -> np.ndarray:
    """Returns labels as int32 `[N]`.

    Args:
        where: String, what errors call the data.
        y: Array of integers, `[N]` or `[N, 1]`.

    Raises:
        ValueError: If these are no integers from 0 on.
    """
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    whole = y.ndim == 1 and y.dtype.kind in "buif" and (y == np.round(y)).all()
    if not whole:
        raise ValueError(
            f"Labels must be integers [N], the number of the class, in {where}"
            f"; of one-hot rows take argmax(axis=1). Received: shape "
            f"{y.shape}, {y.dtype}."
        )
    if len(y) and not 0 <= y.min() <= y.max() < 2**31:
        raise ValueError(
            f"Labels must be 0 to C - 1 in {where}. "
            f"Received: {y.min()} to {y.max()}."
        )
    return y.astype("int32")


def num_classes(name: str, train: np.ndarray, test: np.ndarray) -> int:
    """Returns the number of classes.

    Args:
        name: The name of the data.
        train: How many training examples each label has.
        test: The same of test examples.

    Raises:
        ValueError: If a class has no training example, or there is one class.
    """
    missing = np.flatnonzero(train == 0)
    if len(missing) or len(train) < 2:
        raise ValueError(
            "Labels must be 0 to C - 1, of two classes or more, each with "
            f"training examples, in {name!r}. Received: labels up to "
            f"{len(train) - 1}, none of {missing[:10].tolist()}."
        )
    if len(test) > len(train) or not test.sum():
        raise ValueError(
            f"Test labels must be 0 to {len(train) - 1}, as the training "
            f"labels are, in {name!r}. Received: {test.sum()} labels up to "
            f"{len(test) - 1}."
        )
    return len(train)
