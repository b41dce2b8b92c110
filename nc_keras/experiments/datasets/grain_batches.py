"""Batches of a stream for JAX and torch, without TensorFlow."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING
from typing import Any

import grain
import numpy as np

from nc_keras.experiments.datasets.order import Order
from nc_keras.experiments.datasets.order import num_threads

if TYPE_CHECKING:
    from nc_keras.experiments.datasets.prepared import Records


def batches(
    records: Records,
    order: Order,
    batch_size: int,
    image_shape: tuple[int, ...] | None = None,
) -> grain.IterDataset:
    """Returns a dataset that reads its batches in several threads.

    Args:
        records: Where images and labels are read.
        order: The order of every pass.
        batch_size: Images in a batch; the last may have fewer.
        image_shape: Ignored; `tf_batches.batches` needs it.

    Returns:
        A finite `grain.IterDataset` of `(images, labels)`: `[batch, height,
        width, channels]`, uint8, and `[batch]`, int32.
    """
    del image_shape
    # Keras does not know the length, and warns where the first pass ends.
    warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
    return _Batches(records, order, batch_size)


class _Batches(grain.IterDataset):
    def __init__(self, records: Records, order: Order, batch_size: int):
        super().__init__()
        self.records = records
        self.order = order
        self.batch_size = batch_size

    def __iter__(self) -> _Pass:
        return _Pass(self)


class _Pass(grain.DatasetIterator):
    """One pass; its order is settled when the first batch is asked for.

    Keras makes iterators that it never uses, and looks at two batches before
    it trains: neither must count as a pass.
    """

    def __init__(self, dataset: _Batches):
        super().__init__()
        self._dataset = dataset
        self._batches = None
        self._left = 0

    def __next__(self) -> tuple[np.ndarray, np.ndarray]:
        if self._batches is None:
            self._start()
        batch = next(self._batches)
        self._left -= 1
        if not self._left:
            self._dataset.order.finish()
        return batch

    def get_state(self) -> dict[str, Any]:
        raise NotImplementedError("A pass cannot be resumed in the middle.")

    def set_state(self, state: dict[str, Any]) -> None:
        raise NotImplementedError(
            "A pass cannot be resumed in the middle. "
            f"Received: state={state!r}."
        )

    def _start(self) -> None:
        positions = self._dataset.order.split(self._dataset.batch_size)
        self._left = len(positions)
        threads = num_threads()
        self._batches = iter(
            grain.MapDataset.source(positions)
            .map(self._dataset.records.read)
            .to_iter_dataset(
                grain.ReadOptions(
                    num_threads=threads, prefetch_buffer_size=threads
                )
            )
        )
