import math
import os
import pathlib

import keras
import numpy as np
from keras import ops

from nc_keras.writers.files import replace_atomically
from nc_keras.writers.files import writable_directory


class TerminateOnNonFinite(keras.callbacks.Callback):
    """Stops training when the loss is NaN or infinite, and says where.

    Unlike `keras.callbacks.TerminateOnNaN` it names epoch and step, keeps the
    last good checkpoint, and does not make the device wait for each batch.

    Args:
        checkpoint: Path of a `.keras` or `.weights.h5` file, or `None`. It is
            replaced, atomically, after each epoch whose losses and resulting
            weights are all finite.

    Attributes:
        failed_at: Tuple `(epoch, step)`, both counted from 1, or `None`.

    Raises:
        ValueError: If `checkpoint` has another suffix.

    Example:

    >>> path = os.path.join(tempfile.mkdtemp(), "last_good.weights.h5")
    >>> x, y = np.full((8, 4), np.inf), np.arange(8) % 2
    >>> model = nc_keras.models.MLP((4,), 2, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> guard = nc_keras.callbacks.TerminateOnNonFinite(path)
    >>> _ = model.fit(x, y, epochs=2, callbacks=[guard], verbose=0)
    Epoch 1, step 1: training stops, the loss is nan. No epoch was good.
    >>> guard.failed_at
    (1, 1)
    """

    # Keras then calls `on_train_batch_end` from a thread of its own.
    async_safe = True

    def __init__(self, checkpoint: str | os.PathLike | None = None):
        super().__init__()
        if checkpoint is not None and not str(checkpoint).endswith(
            (".keras", ".weights.h5")
        ):
            raise ValueError(
                "`checkpoint` must end in .keras or .weights.h5. "
                f"Received: checkpoint={str(checkpoint)!r}."
            )
        self.checkpoint = checkpoint

    def on_train_begin(self, logs=None):
        if self.checkpoint:
            writable_directory(pathlib.Path(self.checkpoint).parent)
        self.failed_at = None
        self._epoch = 0
        self._good_epoch = None

    def get_state(self) -> dict:
        """What `Checkpoint` keeps."""
        return {"good_epoch": self._good_epoch}

    def set_state(self, state: dict) -> None:
        """Goes on where `get_state()` was called."""
        self._good_epoch = state["good_epoch"]

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_train_batch_begin(self, batch, logs=None):
        # Set from the thread of `on_train_batch_end`, the flag could end the
        # epoch between two of the steps by which JAX hands over its state.
        if self.failed_at is not None:
            self.model.stop_training = True

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            # Threads may report out of order: the first step counts.
            here = (self._epoch, batch + 1)
            self.failed_at = min(here, self.failed_at or here)
            self._loss = loss

    def on_epoch_end(self, epoch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if self.failed_at is None and not math.isfinite(loss):
            self.failed_at, self._loss = (epoch + 1, None), loss
        if self.failed_at is None and self.checkpoint and self._all_finite():
            self._save()
            self._good_epoch = epoch + 1
        if self.failed_at is not None:
            self.model.stop_training = True
            self._report()

    def _report(self):
        epoch, step = self.failed_at
        kept = "No epoch was good."
        if self._good_epoch:
            kept = f"{self.checkpoint} holds epoch {self._good_epoch}."
        elif not self.checkpoint:
            kept = "No checkpoint was asked for."
        where = f"Epoch {epoch}" + (f", step {step}" if step else "")
        print(f"{where}: training stops, the loss is {self._loss}. {kept}")

    def _all_finite(self):
        return all(
            np.isfinite(ops.convert_to_numpy(weight)).all()
            for weight in self.model.weights
        )

    def _save(self):
        save = self.model.save
        if str(self.checkpoint).endswith(".weights.h5"):
            save = self.model.save_weights
        replace_atomically(self.checkpoint, save)
