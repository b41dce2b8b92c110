"""What callbacks share that look at a model at the end of epochs."""

import math
import os
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping

import keras
import numpy as np

from nc_keras.callbacks.schedule import UNMEASURED
from nc_keras.callbacks.schedule import loss_of
from nc_keras.epochs import measured_epochs
from nc_keras.errors import NonFiniteError
from nc_keras.writers.files import writable_directory
from nc_keras.writers.tensorboard import TensorBoardWriter


class EpochObserver(keras.callbacks.Callback):
    """Observes the model on a schedule, into `logs` and into TensorBoard.

    A subclass returns the values for `logs` from `observe()`, and may draw
    more with `scalars()` and `histogram()`. It writes to a TensorBoard run of
    its own, as no two files of one run may grow at the same time.

    Args:
        epochs: As in `nc_keras.callbacks.NeuralCollapse`.
        log_dir: Directory of the TensorBoard run of the training, or `None`.

    Example:

    >>> from nc_keras.callbacks.epoch_observer import EpochObserver
    >>> class Depth(EpochObserver):
    ...     def observe(self, epoch):
    ...         return {"depth": len(self.model.layers)}
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> x, y = np.zeros((6, 4)), np.arange(6) % 3
    >>> history = model.fit(x, y, callbacks=[Depth()], verbose=0)
    >>> history.history["depth"]
    [6]
    """

    # The name of the TensorBoard run, and what its panels draw: for each
    # category, for each chart, regular expressions of tags.
    run = "observed"
    panels: Mapping[str, Mapping[str, list[str]]] = {}

    def __init__(
        self,
        epochs: int | str | Iterable[int] = 1,
        log_dir: str | os.PathLike | None = None,
    ):
        super().__init__()
        measured_epochs(epochs, epochs=1)
        self.schedule = epochs
        self.log_dir = log_dir
        self._writer = None
        self._measured: frozenset[int] = frozenset()
        self._keys = None

    def observe(self, epoch: int) -> dict[str, float]:
        """Returns what `logs` get at the end of an epoch, counted from 1."""
        raise NotImplementedError

    def first_step(self, epoch: int) -> int:
        """The first epoch that is drawn, of a training that begins here."""
        return epoch + 1

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Draws one number for each tag, if there is a `log_dir`."""
        if self._writer is not None:
            self._writer.scalars(epoch, values)

    def histogram(self, epoch: int, tag: str, values: np.ndarray) -> None:
        """Draws the distribution of some values, if there is a `log_dir`."""
        if self._writer is not None:
            self._writer.histogram(epoch, tag, values)

    def is_measured(self, epoch: int) -> bool:
        """Whether an epoch, counted from 1, is observed."""
        return epoch in self._measured or self._keys is None

    def get_state(self) -> dict:
        """What `Checkpoint` keeps; what was written is then on the disk."""
        if self._writer is not None:
            self._writer.sync()
        return {"keys": self._keys}

    def set_state(self, state: dict) -> None:
        """Goes on where `get_state()` was called."""
        self._keys = state.get("keys")

    def on_train_begin(self, logs=None):
        self._keys = None
        self._measured = measured_epochs(self.schedule, self.params["epochs"])
        self._writer = None

    def on_epoch_begin(self, epoch, logs=None):
        # Only here is it known at which epoch a resumed training starts.
        if self._writer is None and self.log_dir is not None:
            folder = writable_directory(pathlib.Path(self.log_dir) / self.run)
            self._writer = TensorBoardWriter(folder, self.first_step(epoch))
            if self.panels:
                self._writer.layout(self.panels)

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        # What diverged is for `TerminateOnNonFinite` to tell.
        diverged = not math.isfinite(loss_of(logs))
        logs.update(dict.fromkeys(self._keys or (), UNMEASURED))
        if not self.is_measured(epoch + 1) or (
            diverged and self.model.stop_training
        ):
            return
        try:
            values = self.observe(epoch + 1)
            self._keys = list(values)
            logs.update(values)
        except NonFiniteError as error:
            self.stop(epoch, error)

    def stop(self, epoch: int, reason: object) -> None:
        """Stops the training, and says why.

        Args:
            epoch: Integer, the epoch as Keras counts it.
            reason: What is printed.
        """
        # Another callback that stopped here knows the very step.
        if not self.model.stop_training:
            steps = self.params.get("steps")
            where = f"step {steps}" if steps else "its last step"
            print(f"Epoch {epoch + 1}, {where}: training stops. {reason}")
        self.model.stop_training = True

    def on_train_end(self, logs=None):
        self._writer = None
