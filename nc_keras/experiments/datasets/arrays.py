"""Datasets that fit in memory."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from nc_keras.experiments.datasets.digests import digest_of
from nc_keras.experiments.datasets.order import Order
from nc_keras.experiments.datasets.resident import resident_batches
from nc_keras.experiments.options.remainder import Remainder

if TYPE_CHECKING:
    from nc_keras.experiments.datasets.devices import Devices

_PART = 4096
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images with their labels.

    Args:
        name: The name that `load` knows it by.
        num_classes: Number of classes C; labels are 0 to C - 1.
        x_train: Images `[N, height, width, channels]`, uint8; or float32
            once standardised, or where examples are no images.
        y_train: Labels `[N]`, int32.
        x_test: As `x_train`.
        y_test: As `y_train`.
        note: What a reader of results must know of the data, a sentence.
        repeats: How often each training image comes in a pass, `[N]`; once
            where it is `None`.
    """

    name: str
    num_classes: int
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    note: str = ""
    repeats: np.ndarray | None = None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image, `(height, width, channels)`."""
        return self.x_train.shape[1:]

    @property
    def is_uint8(self) -> bool:
        """Whether examples are pixels as files have them, 0 to 255."""
        return self.x_train.dtype == np.uint8

    @property
    def num_train(self) -> int:
        """Number of training images."""
        return len(self.y_train)

    @property
    def pass_positions(self) -> np.ndarray:
        """The training images of one pass, in order, with repeats."""
        positions = np.arange(self.num_train)
        if self.repeats is None:
            return positions
        return np.repeat(positions, self.repeats)

    @property
    def num_test(self) -> int:
        """Number of test images."""
        return len(self.y_test)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays, by the names that they are stored under."""
        return {name: getattr(self, name) for name in ARRAYS}

    @functools.cached_property
    def digest(self) -> str:
        """A fingerprint of all images and labels, the same on any machine."""
        return digest_of(*self.arrays.values())

    def select(self, index: np.ndarray) -> Dataset:
        """Returns a dataset of some training images and all test images.

        Args:
            index: Which training images, `[n]`, in their new order.
        """
        return dataclasses.replace(
            self,
            x_train=self.x_train[index],
            y_train=self.y_train[index],
            repeats=None if self.repeats is None else self.repeats[index],
        )

    def pixel_statistics(self) -> tuple[list[float], list[float]]:
        """Computes exact statistics of the training pixels of each channel.

        They are those of *this* object: take them before `take` or `balance`
        for those of the full training set.

        Returns:
            Means and standard deviations, a float for each channel, on the
            scale of the pixels, 0 to 255. Where floats have no deviation, it
            is 1.
        """
        if not self.is_uint8:
            moments = ChannelMoments()
            for start in range(0, self.num_train, _PART):
                moments.add(self.x_train[start : start + _PART])
            return moments.result()
        moments = [_mean_and_std(row) for row in _histograms(self.x_train)]
        return [mean for mean, _ in moments], [std for _, std in moments]

    def fit_data(
        self,
        batch_size: int,
        seed: int,
        first_epoch: int = 0,
        devices: Devices | None = None,
        remainder: Remainder = "drop",
    ) -> dict[str, Any]:
        """Returns the arguments of `keras.Model.fit` that say what it sees.

        Every epoch has another order, which follows from the seed and the
        number of the epoch alone, and is the same on every backend. The
        images stay where they are, on the device, and are gathered there.

        Args:
            batch_size: Images in a batch.
            seed: Decides the orders.
            first_epoch: The epoch to begin with, counted from 0.
            devices: Those that share each batch, where there are several.
            remainder: What becomes of the images that fill no batch; see
                `Order`.

        Returns:
            A dictionary with `x`, endless batches of images `[batch, height,
            width, channels]` and labels `[batch]`, and `steps_per_epoch`.
        """
        order = Order(self.pass_positions, seed, first_epoch, remainder)
        return {
            "x": resident_batches(
                self.x_train, self.y_train, order, batch_size, devices
            ),
            "steps_per_epoch": order.num_batches(batch_size),
            "shuffle": False,
        }

    def measured_train_data(
        self, batch_size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns `x_train` and `y_train`.

        Args:
            batch_size: Ignored; a streamed dataset needs it.
        """
        del batch_size
        return self.x_train, self.y_train

    def test_data(self, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns `x_test` and `y_test`, as `measured_train_data` does."""
        del batch_size
        return self.x_test, self.y_test

    def standardized(self) -> Dataset:
        """Returns float32 images with mean 0 and deviation 1 over `x_train`.

        One mean and one standard deviation for all pixels, as the notebook
        of Papyan, Han and Donoho (2020) normalises MNIST. Both come from the
        training images only and serve the test images too. The statistics
        are those of *this* object: standardise before `take` to keep those
        of the full training set.

        Returns:
            A new `Dataset`; labels are shared, not copied.

        Raises:
            ValueError: If the images are not uint8, as when standardised
                twice.
        """
        self._require_uint8("standardized")
        mean, std = _mean_and_std(sum(_histograms(self.x_train)))
        return dataclasses.replace(
            self,
            x_train=_standardize(self.x_train, mean, std),
            x_test=_standardize(self.x_test, mean, std),
        )

    def _require_uint8(self, method: str) -> None:
        if not self.is_uint8:
            raise ValueError(
                f"{method}() needs uint8 images, so it must come before "
                "they are standardised. "
                f"Received: x_train.dtype={self.x_train.dtype}."
            )


class ChannelMoments:
    """Mean and deviation of each channel, of floats that come in parts."""

    def __init__(self):
        self._count, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, examples: np.ndarray) -> None:
        """Takes some examples, `[n, ..., channels]`."""
        rows = np.asarray(examples, "float64").reshape(-1, examples.shape[-1])
        self._count += len(rows)
        self._sum = self._sum + rows.sum(0)
        self._squares = self._squares + (rows**2).sum(0)

    def result(self) -> tuple[list[float], list[float]]:
        """Returns means and deviations; 1 for a channel without any."""
        mean = self._sum / self._count
        variance = np.maximum(self._squares / self._count - mean**2, 0)
        # What is left of a constant is rounding.
        rounding = 1e-14 * self._squares / self._count
        deviation = np.sqrt(np.where(variance > rounding, variance, 1))
        return mean.tolist(), deviation.tolist()


def _histograms(images: np.ndarray) -> np.ndarray:
    """Counts the 256 levels in each channel; one image at a time."""
    counts = np.zeros((images.shape[-1], 256), np.int64)
    for image in images:
        for channel, row in enumerate(counts):
            row += np.bincount(image[..., channel].ravel(), minlength=256)
    return counts


def _mean_and_std(histogram: np.ndarray) -> tuple[float, float]:
    # Integer sums are exact, and no float copy of the images is needed.
    levels = np.arange(256)
    total = int(histogram.sum())
    first = int(histogram @ levels)
    second = int(histogram @ levels**2)
    return first / total, math.sqrt(total * second - first**2) / total


def _standardize(images: np.ndarray, mean: float, std: float) -> np.ndarray:
    standard = images.astype(np.float32)
    standard -= mean
    standard /= std
    return standard
