import math
import os
import pathlib
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.labels import class_labels
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
        y: The labels of the training, an array, or `None`. They are looked at
            when the loss is NaN: the losses of `nc_keras` are, for a label
            that names no class. The message then says what is wrong.

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

    def __init__(
        self, checkpoint: str | os.PathLike | None = None, y: Any = None
    ):
        super().__init__()
        if checkpoint is not None and not str(checkpoint).endswith(
            (".keras", ".weights.h5")
        ):
            raise ValueError(
                "`checkpoint` must end in .keras or .weights.h5. "
                f"Received: checkpoint={str(checkpoint)!r}."
            )
        self.checkpoint = checkpoint
        self.y = y

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
        text = f"{where}: training stops, the loss is {self._loss}. {kept}"
        print(" ".join([text, *self._cause()]))

    def _cause(self):
        """What is wrong with the labels, if they are known."""
        outputs = getattr(self.model, "outputs", None) or []
        if self.y is None or len(outputs) != 1 or math.isinf(self._loss):
            return []
        return wrong_labels(self.y, outputs[0].shape[-1])

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


def wrong_labels(y: Any, num_classes: int) -> list[str]:
    """Says what is wrong with labels, or nothing if they name classes.

    Args:
        y: Array of labels.
        num_classes: Integer, the outputs of the model.

    Example:

    >>> from nc_keras.callbacks.terminate_on_non_finite import wrong_labels
    >>> wrong_labels([1, 2, 3, 3], 3)
    ['The labels are counted from 1: pass `y - 1`.']
    """
    y = ops.convert_to_numpy(y)
    if y.ndim > 1 and y.shape[-1] in (1, num_classes):
        y = y.reshape(-1, y.shape[-1])
    else:
        y = y.reshape(-1)  # of tokens
    if np.issubdtype(y.dtype, np.floating) and (y == np.round(y)).all():
        y = y.astype("int64")
    try:
        class_labels(y, num_classes)
    except ValueError as error:
        return [_known_mistake(y, num_classes) or str(error)]
    return []


def _known_mistake(y, num_classes):
    if y.shape[1:] == (num_classes,):
        if ((y == 0) | (y == 1)).all() and (y.sum(1) != 1).any():
            return (
                "The labels are multi-hot, of several classes or none per "
                "example; neural collapse is of one class per example."
            )
        if (y >= 0).all() and np.allclose(y.sum(1), 1, atol=1e-3):
            return (
                "The labels are soft targets; the losses of nc_keras take "
                "classes. Use `keras.losses.CategoricalCrossentropy("
                "from_logits=True)`."
            )
    elif y.min() == 1 and y.max() == num_classes:
        return "The labels are counted from 1: pass `y - 1`."
    return None
