import statistics
import time

import keras


class Stopwatch(keras.callbacks.Callback):
    """Puts the seconds since training began into `logs`.

    Attributes:
        seconds_per_epoch: The median over the epochs of the seconds that the
            training steps took, without compiling, validating and measuring,
            or `None` before the first has ended.
    """

    # Keras then calls `on_train_batch_end` from a thread of its own, once the
    # step is done: elsewhere, JAX' steps have been asked for, not made.
    async_safe = True

    def __init__(self):
        super().__init__()
        self._seconds = []
        self._before = 0.0

    @property
    def seconds_per_epoch(self) -> float | None:
        # The first epoch compiles.
        seconds = self._seconds[1:] or self._seconds
        return round(statistics.median(seconds), 4) if seconds else None

    def get_state(self) -> dict:
        """What `Checkpoint` keeps."""
        return {"seconds": self._seconds, "before": self._elapsed()}

    def set_state(self, state: dict) -> None:
        """Goes on where `get_state()` was called."""
        self._seconds = list(state["seconds"])
        self._before = state["before"]

    def _elapsed(self):
        return self._before + time.perf_counter() - self._start

    def on_train_begin(self, logs=None):
        self._start = time.perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self._last_step = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self._seconds.append(self._last_step - self._epoch_start)
        logs["seconds"] = round(self._elapsed(), 3)
