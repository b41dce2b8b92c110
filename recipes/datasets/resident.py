"""Endless batches of arrays that stay on the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from recipes.datasets.order import Order
from recipes.devices import on_processor


def resident_batches(
    x: np.ndarray, y: np.ndarray, order: Order, batch_size: int
) -> Any:
    """Returns batches in the order of each pass, one pass after another.

    Args:
        x: Images, `[N, height, width, channels]`.
        y: Labels, `[N]`.
        order: The order of every pass.
        batch_size: Images in a batch; the last of a pass may have fewer.

    Returns:
        What `keras.Model.fit` takes as `x` and knows no length of: a
        `tf.data.Dataset` on TensorFlow, otherwise a generator.
    """
    import keras

    if batch_size < 1:
        raise ValueError(
            f"`batch_size` must be positive. Received: batch_size={batch_size}."
        )
    if keras.backend.backend() == "tensorflow":
        from recipes.datasets.tf_batches import gathered

        return gathered(x, y, passes(order, batch_size))
    return _gathered(x, y, passes(order, batch_size))


def passes(order: Order, batch_size: int) -> Iterator[np.ndarray]:
    """Yields the rows of each batch, `[batch]`, without an end."""
    while True:
        yield from order.split(batch_size)
        order.finish()


def _gathered(x, y, rows):
    from keras import ops

    # On a processor NumPy gathers at once; elsewhere the images stay there.
    if on_processor():
        for batch in rows:
            yield x[batch], y[batch]
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    for batch in rows:
        batch = ops.convert_to_tensor(batch)
        yield ops.take(x, batch, axis=0), ops.take(y, batch, axis=0)
