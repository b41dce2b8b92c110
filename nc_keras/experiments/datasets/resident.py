"""Endless batches of arrays that stay on the device."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from nc_keras.experiments.datasets.order import Order

if TYPE_CHECKING:
    from nc_keras.experiments.datasets.devices import Devices


def resident_batches(
    x: np.ndarray,
    y: np.ndarray,
    order: Order,
    batch_size: int,
    devices: Devices | None = None,
) -> Any:
    """Returns batches in the order of each pass, one pass after another.

    Args:
        x: Images, `[N, height, width, channels]`.
        y: Labels, `[N]`.
        order: The order of every pass.
        batch_size: Images in a batch.
        devices: Those that share each batch, where there are several.

    Returns:
        What `keras.Model.fit` takes as `x` and knows no length of: a
        `tf.data.Dataset` on TensorFlow, otherwise a generator.
    """
    import keras

    rows = functools.partial(passes, order, batch_size)
    several = devices is not None and devices.count > 1
    if keras.backend.backend() == "tensorflow":
        from nc_keras.experiments.datasets import tf_batches

        if several:
            return tf_batches.mirrored(x, y, rows, devices)
        return tf_batches.gathered(x, y, rows)
    if several:
        return shared(((x[batch], y[batch]) for batch in rows()), devices)
    return _gathered(x, y, rows())


def passes(order: Order, batch_size: int) -> Iterator[np.ndarray]:
    """Yields the rows of each batch, `[batch]`, without an end."""
    # Keras looks at a batch before it trains, and then begins anew.
    order = copy.copy(order)
    while True:
        yield from order.split(batch_size)
        order.finish()


def shared(
    batches: Iterator[tuple[np.ndarray, np.ndarray]], devices: Devices
) -> Iterator[tuple[Any, Any]]:
    """Yields batches of which each device has its part."""
    for x, y in batches:
        yield devices.share(x), devices.share(y)


def _gathered(x, y, rows):
    from keras import ops

    from nc_keras.experiments.datasets.devices import on_processor

    if on_processor():
        # NumPy gathers at once what the network reads from the same memory.
        for batch in rows:
            yield x[batch], y[batch]
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    for batch in rows:
        batch = ops.convert_to_tensor(batch)
        yield ops.take(x, batch, axis=0), ops.take(y, batch, axis=0)
