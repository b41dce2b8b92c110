from typing import Any

import keras
import numpy as np

from nc_keras.forgetting import Forgetting
from nc_keras.labels import class_labels
from nc_keras.measuring.batch_size import suitable_batch_size


class ForgettingEpochEnd(keras.callbacks.Callback):
    """Counts how often each example is forgotten from epoch to epoch.

    At the end of each epoch the network decides on all examples, in inference
    mode. This is another statistic than Toneva et al.'s, which
    `nc_keras.forgetting.recorded` counts exactly and without another pass: here
    all examples meet the same weights.

    Example:

    >>> x, y = np.eye(4), np.array([0, 1, 2, 0])
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> counting = nc_keras.callbacks.ForgettingEpochEnd(x, y)
    >>> history = model.fit(x, y, epochs=3, callbacks=[counting], verbose=0)
    >>> counting.result().events.shape
    (4,)

    Args:
        x: Array of the examples that are watched.
        y: Their labels.
        batch_size: Integer; by default one that suits the model.
    """

    def __init__(self, x: Any, y: Any, batch_size: int | None = None):
        super().__init__()
        self._x, self._batch_size = x, batch_size
        self._labels = class_labels(y)[0]
        if len(self._labels) != len(x):
            raise ValueError(
                "There must be a label for each example. "
                f"Received: {len(x)} examples, {len(self._labels)} labels."
            )
        count = len(self._labels)
        self._right = np.zeros(count, bool)
        self._learned = np.zeros(count, bool)
        self._events = np.zeros(count, "int32")

    def on_epoch_end(self, epoch, logs=None):
        batch_size = self._batch_size
        if batch_size is None:
            batch_size = suitable_batch_size(self.model)
        outputs = self.model.predict(self._x, batch_size, verbose=0)
        right = np.argmax(outputs, axis=-1) == self._labels
        self._events += self._right & ~right
        self._learned |= right
        self._right = right

    def result(self) -> Forgetting:
        """Returns the `nc_keras.forgetting.Forgetting` so far."""
        return Forgetting(self._events.copy(), self._learned.copy())

    def get_state(self) -> dict:
        """What `Checkpoint` keeps."""
        names = ("_right", "_learned", "_events")
        return {name[1:]: getattr(self, name).tolist() for name in names}

    def set_state(self, state: dict) -> None:
        """Goes on where `get_state()` was called."""
        self._right = np.array(state["right"], bool)
        self._learned = np.array(state["learned"], bool)
        self._events = np.array(state["events"], "int32")
