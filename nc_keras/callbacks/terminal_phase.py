import warnings

import keras
import numpy as np

from nc_keras.callbacks.neural_collapse import log_key
from nc_keras.callbacks.schedule import is_measured

_ACCURACIES = (
    log_key("accuracy"),
    "accuracy",
    "acc",
    "sparse_categorical_accuracy",
    "categorical_accuracy",
)


class TerminalPhase(keras.callbacks.Callback):
    """Notices when the training error vanishes: the terminal phase begins.

    The terminal phase of training (TPT) is what comes after the epoch at
    which the training error first vanished. Some data sets hold mislabelled
    images, hence the threshold.

    Adds two numbers to `logs`: `"terminal_phase"` (1 in the terminal phase,
    else 0) and `"terminal_epochs"` (epochs since it began). Place this
    callback before those that should see them.

    Args:
        threshold: Float in `(0, 1]`, the training accuracy at which the error
            counts as vanished. Defaults to `0.999`.
        monitor: String or `None`, the key of the training accuracy in `logs`.
            `None` takes the accuracy that `NeuralCollapse` measures in
            inference mode, if there is one in the first epoch, and else the
            compiled metric, the running mean that Keras logs. Epochs that
            are not measured are not judged.
        stop_after: Integer or `None`, stops training this many epochs into the
            terminal phase.

    Attributes:
        epoch: The epoch, counted from 1, at which the training error first
            vanished, or `None`.

    Raises:
        ValueError: If `threshold` is outside `(0, 1]` or `stop_after` is
            negative, or, in training, if there is no accuracy in `logs`.

    Example:

    >>> terminal = nc_keras.callbacks.TerminalPhase(stop_after=100)
    >>> terminal.on_train_begin()
    >>> terminal.on_epoch_end(11, {"accuracy": 0.9995})
    >>> terminal.epoch
    12

    Reference:

    - [Papyan, Han & Donoho, 2020](https://arxiv.org/abs/2008.08186), the
      terminal phase of training.
    """

    def __init__(
        self,
        threshold: float = 0.999,
        monitor: str | None = None,
        stop_after: int | None = None,
    ):
        super().__init__()
        if not 0 < threshold <= 1:
            raise ValueError(
                "`threshold` is an accuracy in (0, 1]. "
                f"Received: threshold={threshold}."
            )
        if stop_after is not None and stop_after < 0:
            raise ValueError(
                "`stop_after` must not be negative. "
                f"Received: stop_after={stop_after}."
            )
        self.threshold = threshold
        self.monitor = monitor
        self.stop_after = stop_after
        self.epoch = None

    def on_train_begin(self, logs=None):
        self.epoch = None
        self._key = self.monitor
        self._judged = False

    def get_state(self) -> dict:
        """What `Checkpoint` keeps."""
        return {"epoch": self.epoch, "key": self._key, "judged": self._judged}

    def set_state(self, state: dict) -> None:
        """Goes on where `get_state()` was called."""
        self.epoch = state["epoch"]
        self._key = state["key"]
        self._judged = state["judged"]

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        accuracy = self._accuracy(logs)
        if self.epoch is None and accuracy >= self.threshold:
            self.epoch = epoch + 1
        logs["terminal_phase"] = int(self.epoch is not None)
        logs["terminal_epochs"] = epoch + 1 - self.epoch if self.epoch else 0
        if (
            self.stop_after is not None
            and self.epoch is not None
            and logs["terminal_epochs"] >= self.stop_after
        ):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if not self._judged:
            warnings.warn(
                f"No epoch had {self._key!r} in its logs, so the terminal "
                "phase was not looked for. Place `TerminalPhase` after "
                "`NeuralCollapse`.",
                stacklevel=2,
            )

    def _accuracy(self, logs):
        if self._key is None:
            self._key = next((key for key in _ACCURACIES if key in logs), None)
        accuracy = logs.get(self._key)
        if np.ndim(accuracy):
            raise ValueError(
                "`TerminalPhase` needs one number, the training accuracy. "
                f"Received: monitor={self._key!r}, in logs "
                f"{np.ndim(accuracy)}-dimensional."
            )
        if accuracy is not None and is_measured(logs, self._key):
            self._judged = True
            return accuracy
        if accuracy is None and self._key != log_key("accuracy"):
            raise ValueError(
                "`TerminalPhase` needs the training accuracy. Compile the "
                'model with `metrics=["accuracy"]`, or place this callback '
                "after `NeuralCollapse`. "
                f"Received: monitor={self.monitor!r}, logs with {list(logs)}."
            )
        return 0.0  # Not measured in this epoch.
