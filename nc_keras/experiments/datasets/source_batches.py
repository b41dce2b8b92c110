"""Sources of batches of a recipe's own, which Keras reads while training."""

from __future__ import annotations

import functools
import hashlib
import warnings
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from nc_keras.experiments.datasets.arrays import ChannelMoments
from nc_keras.experiments.datasets.digests import digest_of
from nc_keras.experiments.datasets.labels import labels_of
from nc_keras.experiments.datasets.labels import num_classes
from nc_keras.experiments.options.remainder import Remainder
from nc_keras.measuring.batches import is_one_shot

if TYPE_CHECKING:
    from nc_keras.experiments.datasets.devices import Devices


class SourceStream:
    """Two sources of batches, each of which can be iterated again and again.

    A source is a `tf.data.Dataset`, a `torch.utils.data.DataLoader`, a grain
    dataset or a `keras.utils.PyDataset`, which ends after a pass, of batches
    of examples and integer labels. Batches and their order are the source's
    own. Both are read once when this is made, to count classes and examples.

    Args:
        name: What it is called.
        train: The source of the training examples.
        test: The source of the test examples.

    Raises:
        ValueError: If it can be iterated once only, has no pairs, or labels
            do not fit.
    """

    def __init__(self, name: str, train: Any, test: Any):
        # Keras does not know the length, and warns where the first pass ends.
        warnings.filterwarnings(
            "ignore", "Your input ran out of data", UserWarning
        )
        self.name = name
        self._train, self._test = train, test
        self._trained = _Pass(f"the training source of {name!r}", train)
        self._tested = _Pass(f"the test source of {name!r}", test)
        self.num_classes = num_classes(
            name, self._trained.counts, self._tested.counts
        )
        if self._trained.form != self._tested.form:
            raise ValueError(
                f"Training and test examples of {name!r} must be alike. "
                f"Received: {self._trained.form} and {self._tested.form}."
            )

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self._trained.form[0]

    @property
    def is_uint8(self) -> bool:
        """Whether examples are pixels as files have them, 0 to 255."""
        return self._trained.form[1] == "uint8"

    @property
    def num_train(self) -> int:
        """Number of training examples."""
        return int(self._trained.counts.sum())

    @property
    def num_test(self) -> int:
        """Number of test examples."""
        return int(self._tested.counts.sum())

    @functools.cached_property
    def digest(self) -> str:
        """A fingerprint of the test examples, and of the training labels.

        The order is left out, since sources shuffle, and the training
        examples are, since they may be augmented at random.
        """
        return digest_of(
            self._trained.counts,
            np.array(self.image_shape),
            self._tested.digest,
        )

    def pixel_statistics(self) -> tuple[list[float], list[float]]:
        """Returns mean and deviation of each channel, as in `Dataset`."""
        return self._trained.moments.result()

    def fit_data(
        self,
        batch_size: int,
        seed: int,
        first_epoch: int = 0,
        devices: Devices | None = None,
        remainder: Remainder = "drop",
    ) -> dict[str, Any]:
        """Returns the arguments of `keras.Model.fit` that say what it sees.

        Args:
            batch_size: Ignored, as the next ones: the source has its own.
            seed: Ignored.
            first_epoch: Ignored.
            devices: At most one.
            remainder: Ignored.

        Raises:
            ValueError: If several devices should share the batches.
        """
        del batch_size, seed, first_epoch, remainder
        if devices is not None and devices.count > 1:
            raise ValueError(
                f"The batches of {self.name!r} are read from a source, which "
                f"one device does. Received: devices={devices.count}."
            )
        return {"x": self._train, "shuffle": False}

    def measured_train_data(self, batch_size: int) -> tuple[Any, None]:
        """Returns the source of the training examples, and `None`."""
        del batch_size
        return self._train, None

    def test_data(self, batch_size: int) -> tuple[Any, None]:
        """Returns the source of the test examples, and `None`."""
        del batch_size
        return self._test, None


class _Pass:
    """What one pass over a source finds."""

    def __init__(self, where: str, source: Any):
        if is_one_shot(source) or callable(source):
            raise ValueError(
                "A source must be one that begins anew in every epoch: a "
                "tf.data.Dataset, a DataLoader, a grain dataset or a "
                f"PyDataset. Received: {type(source).__name__} as {where}."
            )
        self.counts = np.zeros(0, np.int64)
        self.moments = ChannelMoments()
        self.form = None
        total = 0
        for batch in _batches(source):
            x, y = self._pair(where, batch)
            counts = np.bincount(y, minlength=len(self.counts))
            counts[: len(self.counts)] += self.counts
            self.counts = counts
            self.moments.add(x)
            form = x.shape[1:], x.dtype.name
            if form != (self.form or form):
                raise ValueError(
                    f"All examples must be alike in {where}. "
                    f"Received: {self.form} and {form}."
                )
            self.form = form
            for example, label in zip(x, y, strict=True):
                total += _number(example, label)
        if self.form is None:
            raise ValueError(f"There are no batches in {where}.")
        self.digest = np.frombuffer(
            (total % 2**128).to_bytes(16, "little"), "uint8"
        )

    def _pair(self, where, batch):
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ValueError(
                f"Batches must be pairs of examples and labels in {where}. "
                f"Received: {type(batch).__name__}."
            )
        x = np.asarray(batch[0])
        return x, labels_of(where, np.asarray(batch[1]))


def _batches(source):
    import keras

    if isinstance(source, keras.utils.PyDataset):
        return (source[index] for index in range(len(source)))
    try:
        return iter(source)
    except TypeError:
        raise ValueError(
            "Data must be arrays, a folder of images, or sources of batches. "
            f"Received: {type(source).__name__}."
        ) from None


def _number(example, label):
    """A number of an example; a sum of such numbers knows no order."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(np.ascontiguousarray(example))
    digest.update(str(label).encode())
    return int.from_bytes(digest.digest(), "little")
