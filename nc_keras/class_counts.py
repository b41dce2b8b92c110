"""How many examples the classes of a data set have."""

from typing import Any

import numpy as np

from nc_keras.arguments import real_array


def checked_counts(counts: Any) -> np.ndarray:
    """Returns the examples per class as an array of integers.

    Raises:
        ValueError: If they are not two positive integers or more.
    """
    array = real_array(counts, "`counts`")
    if array.ndim != 1 or len(array) < 2:
        raise ValueError(
            "`counts` must have one number per class, of two classes or more. "
            f"Received: counts of shape {array.shape}."
        )
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError(
            "Each class needs an example: `counts` must be positive. "
            f"Received: counts={counts}."
        )
    if (array != np.round(array)).any():
        raise ValueError(
            f"`counts` must be integers. Received: counts={counts}."
        )
    return array.astype(int)


def require_counts_of(loss: Any, outputs: Any) -> None:
    """Raises unless a loss has a count for each output.

    Args:
        loss: A loss with `counts`.
        outputs: Tensor of shape `(..., C)`.

    Raises:
        ValueError: If it has not.
    """
    if outputs.shape[-1] != len(loss.counts):
        raise ValueError(
            f"`{type(loss).__name__}` needs one count per class. Received: "
            f"{len(loss.counts)} counts, and outputs of shape "
            f"{tuple(outputs.shape)}."
        )
