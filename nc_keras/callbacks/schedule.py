"""What `logs` hold in the epochs that are not measured."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import keras

# In `logs`, in the place of a value that was not measured in an epoch. All
# columns of History, CSVLogger and the like are so of equal length, and no
# callback takes it for the best value. This very object, and no other NaN.
UNMEASURED = float("nan")


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
