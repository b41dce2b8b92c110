"""Which epochs are measured, and what `logs` hold in the others."""

import contextlib
import functools
import math
import operator
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

# In `logs`, in the place of a value that was not measured in an epoch. All
# columns of History, CSVLogger and the like are so of equal length, and no
# callback takes it for the best value. This very object, and no other NaN.
UNMEASURED = float("nan")

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


def loss_of(logs: Mapping[str, Any]) -> float:
    """The loss in `logs`; 0 where there is none that is a number."""
    try:
        return float(logs.get("loss", 0.0))
    except (TypeError, ValueError):
        return 0.0


def is_measured(logs: Mapping[str, Any], key: str) -> bool:
    """Whether `logs` hold a value that was measured in this epoch.

    Args:
        logs: The `logs` of an epoch, as another callback sees them.
        key: String, such as `"nc1"`.
    """
    return logs.get(key, UNMEASURED) is not UNMEASURED


def measured_only(logs: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `logs` that were measured in this epoch."""
    return {k: value for k, value in logs.items() if value is not UNMEASURED}


def only_measured(
    callback: keras.callbacks.Callback,
) -> keras.callbacks.Callback:
    """Lets a callback look at the epochs in which its `monitor` is measured.

    In epochs that a schedule leaves out `logs` hold NaN, which
    `keras.callbacks.EarlyStopping` and `ReduceLROnPlateau` count as epochs
    without improvement: their `patience` is one of epochs, and must be longer
    than the longest gap between two measurements. With this function it is one
    of measurements.

    Args:
        callback: A callback with a `monitor`, such as these. It is changed.

    Returns:
        The same callback.

    Raises:
        ValueError: If it has no `monitor`.

    Example:

    >>> stop = nc_keras.callbacks.only_measured(
    ...     keras.callbacks.EarlyStopping("nc1", mode="min", patience=2)
    ... )
    """
    monitor = getattr(callback, "monitor", None)
    if not isinstance(monitor, str):
        raise ValueError(
            "`only_measured` takes a callback with a `monitor`, such as "
            "`keras.callbacks.EarlyStopping`. "
            f"Received: {type(callback).__name__}."
        )
    look = callback.on_epoch_end

    @functools.wraps(look)
    def on_epoch_end(epoch, logs=None):
        value = (logs or {}).get(monitor)
        if not (isinstance(value, float) and math.isnan(value)):
            look(epoch, logs)

    callback.on_epoch_end = on_epoch_end
    return callback
