"""Datasets that are read from disk while training."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from nc_keras.experiments.datasets import images
from nc_keras.experiments.datasets.digests import digest_of
from nc_keras.experiments.datasets.order import Order
from nc_keras.experiments.datasets.resident import shared
from nc_keras.experiments.datasets.sources import SOURCES
from nc_keras.experiments.options.remainder import Remainder

if TYPE_CHECKING:
    from nc_keras.experiments.datasets.devices import Devices

LABELS = ("y_train", "y_test")
_SAMPLE = 2**16  # bytes, of the beginning, middle and end of a file


@dataclasses.dataclass(frozen=True, eq=False)
class ImageStream:
    """JPEG images in a folder that tensorflow-datasets prepared.

    It has the interface of `Dataset`, except for arrays of images. Batches
    are read and decoded by threads, ahead of the training step.

    Args:
        name: The name that `load` knows it by.
        num_classes: Number of classes C; labels are 0 to C - 1.
        folder: The prepared folder, in array_record format.
        y_train: Labels of the training images in use, `[N]`, int32.
        y_test: Labels of all test images, int32.
        train_positions: Which records of the training split are in use,
            `[N]`; by default all.
    """

    name: str
    num_classes: int
    folder: Path
    y_train: np.ndarray
    y_test: np.ndarray
    train_positions: np.ndarray | None = None

    def __post_init__(self):
        if self.train_positions is None:
            positions = np.arange(len(self.y_train))
            object.__setattr__(self, "train_positions", positions)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image, `(height, width, channels)`."""
        return (images.CROP, images.CROP, 3)

    @property
    def is_uint8(self) -> bool:
        """Whether examples are pixels as files have them: so they are."""
        return True

    @property
    def num_train(self) -> int:
        """Number of training images."""
        return len(self.y_train)

    @property
    def num_test(self) -> int:
        """Number of test images."""
        return len(self.y_test)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The labels, by the names that they are stored under."""
        return {name: getattr(self, name) for name in LABELS}

    @functools.cached_property
    def digest(self) -> str:
        """A fingerprint of labels, order and samples of the files."""
        files = sorted(self.folder.glob("*.array_record*"))
        return digest_of(
            *self.arrays.values(), self.train_positions, *map(_sample, files)
        )

    def select(self, index: np.ndarray) -> ImageStream:
        """Returns a dataset of some training images and all test images.

        Args:
            index: Which training images, `[n]`, in their new order.
        """
        return dataclasses.replace(
            self,
            y_train=self.y_train[index],
            train_positions=self.train_positions[index],
        )

    def pixel_statistics(self) -> tuple[list[float], list[float]]:
        """Returns the well-known statistics of ImageNet's pixels.

        They are the constants of torchvision's documentation, times 255;
        they are not computed from the images.

        Returns:
            Means and standard deviations, a float for each channel, on the
            scale of the pixels, 0 to 255.
        """
        return [255 * m for m in images.MEAN], [255 * s for s in images.STD]

    def fit_data(
        self,
        batch_size: int,
        seed: int,
        first_epoch: int = 0,
        devices: Devices | None = None,
        remainder: Remainder = "drop",
    ) -> dict[str, Any]:
        """Returns the arguments of `keras.Model.fit` that say what it sees.

        Every pass has another order, which follows from the seed and the
        number of passes that were made to the end.

        Args:
            batch_size: Images in a batch.
            seed: Decides the orders.
            first_epoch: The epoch to begin with, counted from 0.
            devices: Those that share each batch, where there are several.
            remainder: What becomes of the images that fill no batch; see
                `Order`.

        Returns:
            A dictionary with `x`, a dataset of batches of images `[batch,
            height, width, channels]`, uint8, and labels `[batch]`, int32. It
            is a `tf.data.Dataset` on TensorFlow, and otherwise a
            `grain.IterDataset`.
        """
        order = Order(self.train_positions, seed, first_epoch, remainder)
        if devices is None or devices.count == 1:
            batches = self._batches("train", order, batch_size)
            return {"x": batches, "shuffle": False}
        return {
            "x": self._shared(order, batch_size, devices),
            "steps_per_epoch": order.num_batches(batch_size),
            "shuffle": False,
        }

    def measured_train_data(self, batch_size: int) -> tuple[Any, None]:
        """Returns the training images in the order of `y_train`.

        Args:
            batch_size: Images in a batch; the last may have fewer.

        Returns:
            A dataset as in `fit_data`, and `None`.
        """
        order = Order(self.train_positions)
        return self._batches("train", order, batch_size), None

    def test_data(self, batch_size: int) -> tuple[Any, None]:
        """Returns the test images in the order of `y_test`.

        Args and returns are as in `measured_train_data`.
        """
        order = Order(np.arange(self.num_test))
        split = SOURCES[self.name].test_split
        return self._batches(split, order, batch_size), None

    def _shared(self, order: Order, batch_size: int, devices: Devices) -> Any:
        import keras

        if keras.backend.backend() == "tensorflow":
            from nc_keras.experiments.datasets.prepared import Records
            from nc_keras.experiments.datasets.tf_batches import mirrored_stream

            records = Records(self.folder, "train")
            return mirrored_stream(
                records, order, batch_size, self.image_shape, devices
            )
        batches = self._batches("train", order, batch_size)
        # Each iterator over the batches makes one pass.
        passes = itertools.chain.from_iterable(itertools.repeat(batches))
        return shared(passes, devices)

    def _batches(self, split: str, order: Order, batch_size: int) -> Any:
        import keras

        from nc_keras.experiments.datasets.prepared import Records

        # A batch that cannot be made is refused before anything is read.
        order.num_batches(batch_size)
        # The other package may not be there, so only one is imported.
        if keras.backend.backend() == "tensorflow":
            from nc_keras.experiments.datasets.tf_batches import batches
        else:
            from nc_keras.experiments.datasets.grain_batches import batches
        records = Records(self.folder, split)
        return batches(records, order, batch_size, self.image_shape)


def _sample(path):
    """What tells a large file apart from another of the same size."""
    size = path.stat().st_size
    parts = [str(size).encode()]
    with path.open("rb") as file:
        for start in (0, size // 2, max(size - _SAMPLE, 0)):
            file.seek(start)
            parts.append(file.read(_SAMPLE))
    return np.frombuffer(b"".join(parts), "uint8")
