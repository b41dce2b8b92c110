"""Batches of a stream for TensorFlow; imported only on that backend."""

from __future__ import annotations

import collections
import copy
from collections.abc import Callable
from collections.abc import Iterator
from concurrent import futures
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from nc_keras.experiments.datasets.devices import shares
from nc_keras.experiments.datasets.order import Order
from nc_keras.experiments.datasets.order import num_threads

if TYPE_CHECKING:
    from nc_keras.experiments.datasets.devices import MirroredDevices
    from nc_keras.experiments.datasets.prepared import Records


def batches(
    records: Records,
    order: Order,
    batch_size: int,
    image_shape: tuple[int, ...],
) -> tf.data.Dataset:
    """Returns a dataset that reads its batches in several threads.

    Args:
        records: Where images and labels are read.
        order: The order of every pass.
        batch_size: Images in a batch; the last may have fewer.
        image_shape: `(height, width, channels)`.

    Returns:
        A finite `tf.data.Dataset` of `(images, labels)`: `[batch, height,
        width, channels]`, uint8, and `[batch]`, int32.
    """
    dataset = tf.data.Dataset.from_generator(
        lambda: _read_ahead(records, order, batch_size),
        output_signature=(
            tf.TensorSpec((None, *image_shape), tf.uint8),
            tf.TensorSpec((None,), tf.int32),
        ),
    )
    length = order.num_batches(batch_size)
    return dataset.apply(
        tf.data.experimental.assert_cardinality(length)
    ).prefetch(2)


def _read_ahead(
    records: Records, order: Order, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the batches of a pass in order; threads read the next ones.

    Threads of our own, because deterministic TensorFlow, as the recipes use
    it, calls Python from one thread of `Dataset.map` only.
    """
    pool = futures.ThreadPoolExecutor(num_threads())
    waiting = collections.deque()
    try:
        for positions in order.split(batch_size):
            waiting.append(pool.submit(records.read, positions))
            if len(waiting) > num_threads():
                yield waiting.popleft().result()
        while waiting:
            batch = waiting.popleft().result()
            if not waiting:
                # Nobody asks for what comes after the last batch.
                order.finish()
            yield batch
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def gathered(
    x: np.ndarray, y: np.ndarray, rows: Callable[[], Iterator[np.ndarray]]
) -> tf.data.Dataset:
    """Returns a dataset of the given rows of two arrays.

    Args:
        x: Images, `[N, height, width, channels]`.
        y: Labels, `[N]`.
        rows: Function that begins with the rows of each batch, `[batch]`.

    Returns:
        An endless `tf.data.Dataset` of images and labels.
    """
    x, y = tf.constant(x), tf.constant(y)
    dataset = tf.data.Dataset.from_generator(
        rows, output_signature=tf.TensorSpec((None,), tf.int64)
    )
    return dataset.map(
        lambda batch: (tf.gather(x, batch), tf.gather(y, batch))
    ).prefetch(2)


def mirrored(
    x: np.ndarray,
    y: np.ndarray,
    rows: Callable[[], Iterator[np.ndarray]],
    devices: MirroredDevices,
) -> tf.distribute.DistributedDataset:
    """Returns a dataset of which each replica gets its share of a batch.

    Args:
        x: Images, `[N, height, width, channels]`.
        y: Labels, `[N]`.
        rows: Function that begins with the rows of each global batch.
        devices: The replicas.

    Returns:
        An endless dataset of images, labels and weights.
    """
    x, y = tf.constant(x), tf.constant(y)

    def gather(batch, weight):
        labels = tf.gather(y, batch)
        weights = tf.fill(tf.shape(labels), tf.cast(weight, tf.float32))
        return tf.gather(x, batch), labels, weights

    return _of_replicas(
        devices,
        lambda: shares(rows(), devices.count),
        (tf.TensorSpec((None,), tf.int64), tf.TensorSpec((), tf.float64)),
        gather,
    )


def mirrored_stream(
    records: Records,
    order: Order,
    batch_size: int,
    image_shape: tuple[int, ...],
    devices: MirroredDevices,
) -> tf.distribute.DistributedDataset:
    """Returns a dataset that is read, as `batches`, for several replicas.

    Args:
        records: Where images and labels are read.
        order: The order of every pass.
        batch_size: Images in a global batch.
        image_shape: `(height, width, channels)`.
        devices: The replicas.

    Returns:
        An endless dataset of images, labels and weights.
    """

    def read():
        # Keras looks at a batch before it trains, and then begins anew.
        passes = copy.copy(order)
        while True:
            for images, labels in _read_ahead(records, passes, batch_size):
                whole = iter([np.arange(len(labels))])
                for rows, weight in shares(whole, devices.count):
                    weights = np.full(len(rows), weight, "float32")
                    yield images[rows], labels[rows], weights

    signature = (
        tf.TensorSpec((None, *image_shape), tf.uint8),
        tf.TensorSpec((None,), tf.int32),
        tf.TensorSpec((None,), tf.float32),
    )
    return _of_replicas(devices, read, signature)


def _of_replicas(devices, read, signature, finish=None):
    """A dataset of which each replica takes the next element in turn."""

    def of_host(context):
        del context
        dataset = tf.data.Dataset.from_generator(
            read, output_signature=signature
        )
        if finish is not None:
            dataset = dataset.map(finish)
        return dataset.prefetch(2 * devices.count)

    return devices.strategy.distribute_datasets_from_function(of_host)
