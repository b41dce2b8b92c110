"""Which epochs of a training are measured."""

import contextlib
import operator
from collections.abc import Iterable

import numpy as np

# The 50 epochs of 350 at which the authors' notebook measures.
# https://github.com/neuralcollapse/neuralcollapse
_PUBLISHED = (
    *range(1, 15),
    *(16, 17, 19, 20, 22, 24, 27, 29, 32, 35, 38, 42, 45, 50, 54, 59, 65, 71),
    *(77, 85, 92, 101, 110, 121, 132, 144, 158, 172, 188, 206, 225, 245, 268),
    *(293, 320, 350),
)


def log_spaced_epochs(epochs: int, count: int = 50) -> list[int]:
    """The papers' measured epochs: evenly spaced in the logarithm.

    Args:
        epochs: Integer, the number of epochs of the training.
        count: Integer, how many are measured; all of them if there are no
            more. Defaults to 50.

    Returns:
        Increasing epochs, counted from 1, the first and the last among them.
        For 350 epochs these are exactly the published ones.

    Raises:
        ValueError: If `epochs` or `count` is not positive.

    Example:

    >>> nc_keras.callbacks.log_spaced_epochs(100, count=7)
    [1, 2, 5, 10, 22, 46, 100]

    Reference:

    - [Papyan, Han & Donoho, 2020](https://arxiv.org/abs/2008.08186), the
      epochs of its figures.
    """
    if epochs < 1 or count < 1:
        raise ValueError(
            "`epochs` and `count` must be positive. "
            f"Received: {epochs=}, {count=}."
        )
    if (epochs, count) == (350, 50):
        return list(_PUBLISHED)
    # Small epochs coincide after rounding: more points until enough differ.
    for points in range(count, 100 * count):
        chosen = np.unique(np.geomspace(1, epochs, points).round().astype(int))
        if len(chosen) >= min(count, epochs):
            return chosen.tolist()
    return list(range(1, epochs + 1))


def measured_epochs(
    schedule: int | str | Iterable[int], epochs: int
) -> frozenset[int]:
    """Returns the epochs of a training that a schedule measures.

    Args:
        schedule: An integer `k` for the first, the last and every k-th
            epoch; `"log"` for `log_spaced_epochs`; or the epochs themselves,
            counted from 1.
        epochs: Integer, the number of epochs of the training.

    Raises:
        ValueError: If the schedule is none of these.
    """
    if schedule == "log":
        return frozenset(log_spaced_epochs(epochs))
    chosen: frozenset[int] = frozenset()
    with contextlib.suppress(TypeError, ValueError):
        if not isinstance(schedule, Iterable):
            every = range(0, epochs + 1, operator.index(schedule))
            chosen = frozenset({1, epochs, *every[1:]} if every else ())
        elif not isinstance(schedule, str):
            chosen = frozenset(map(operator.index, schedule))
    if not chosen or min(chosen) < 1:
        raise ValueError(
            '`epochs` must be a positive integer, "log", or a list of epochs '
            f"counted from 1. Received: epochs={schedule!r}."
        )
    return chosen
