"""A callback that keeps the features of examples, epoch by epoch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from nc_keras.callbacks.epoch_observer import EpochObserver
from nc_keras.measuring.batches import refuse_endless
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.plot.collapse import Frame
from nc_keras.plot.collapse import save
from nc_keras.plot.matrices import of_features


class FeatureMovie(EpochObserver):
    """Keeps the features of some examples, and draws how they collapse.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> movie = nc_keras.plot.FeatureMovie(x, y)
    >>> _ = model.fit(x, y, epochs=3, callbacks=[movie], verbose=0)
    >>> [frame.epoch for frame in movie.frames]
    [0, 1, 2, 3]
    >>> movie.save(os.path.join(tempfile.mkdtemp(), "movie.gif"))

    Args:
        x: Array of examples, or a dataset, as in `nc_keras.measure`. Some
            hundred are enough: the features of all are kept for each frame.
        y: Their labels.
        epochs: Which epochs make a frame, as in
            `nc_keras.callbacks.NeuralCollapse`. Before the first there is one
            of the model as it was.
        head: As in `nc_keras.measure`.
        batch_size: Integer; by default one that suits the model.

    Attributes:
        frames: List of `Frame`s; what `nc_keras.plot.collapse_movie` takes.

    Raises:
        ValueError: As `nc_keras.measure`, at the first frame; and in `save`,
            if there are two classes only.

    `nc_keras.callbacks.Checkpoint` keeps the frames, so that a training that
    was interrupted has one movie.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        epochs: int | str | Iterable[int] = 1,
        head: Any = None,
        batch_size: int | None = None,
    ):
        super().__init__(epochs)
        if y is None:
            refuse_endless(x)
        self.x = x
        self.y = y
        self.head = head
        self.batch_size = batch_size
        self.frames: list[Frame] = []
        self._extractor: FeatureExtractor | None = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.frames = []

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        # A model without weights is only built by its first step.
        if not self.frames and epoch == 0 and self.model.built:
            self.frames.append(self._frame(0))

    def observe(self, epoch: int) -> dict[str, float]:
        """Keeps a frame; `logs` get nothing."""
        self.frames.append(self._frame(epoch))
        return {}

    def get_state(self) -> dict:
        """What `Checkpoint` keeps: the frames so far."""
        frames = [
            {name: value for name, value in vars(frame).items()}
            for frame in self.frames
        ]
        return {**super().get_state(), "frames": frames}

    def set_state(self, state: dict) -> None:
        """Goes on where `get_state()` was called."""
        super().set_state(state)
        self.frames = [Frame(**values) for values in state["frames"]]

    def save(self, path: str | os.PathLike, **options: Any) -> None:
        """Writes the movie.

        Args:
            path: A file that ends in `.gif`, or in `.html` for a page with
                buttons to play it.
            **options: Arguments of `nc_keras.plot.collapse_movie`.

        Raises:
            ValueError: If the file ends otherwise, or there is no frame.
        """
        save(path, self.frames, **options)

    def _frame(self, epoch):
        extractor = self._extractor
        if extractor is None or extractor.model is not self.model:
            extractor = FeatureExtractor(self.model, self.head)
            self._extractor = extractor
        rows, labels = extractor(self.x, self.y, self.batch_size)
        found = of_features(rows, labels, extractor)
        return Frame(
            epoch,
            found.features.astype("float32"),
            found.labels,
            found.means,
            found.head,
        )
