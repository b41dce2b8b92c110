import math
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.callbacks.positional import formerly_positional
from nc_keras.callbacks.schedule import UNMEASURED
from nc_keras.callbacks.schedule import measured_epochs
from nc_keras.errors import NonFiniteError
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.measuring.measure import measurement_of
from nc_keras.measuring.source import FeatureSource
from nc_keras.theory import central_path
from nc_keras.writers.files import writable_directory
from nc_keras.writers.json_lines import JSONLinesWriter
from nc_keras.writers.tensorboard import TensorBoardWriter

_KEYS = ("snr_min", "snr_max", "snr_ratio")


class SignalToNoise(keras.callbacks.Callback):
    """Records the signal-to-noise singular values of the features.

    They are those of `Sigma_W^{-1/2} M`, see
    `nc_keras.theory.central_path.snr`, and what
    `nc_keras.theory.central_path.fit_time_scale` compares with the closed
    form. Each measured epoch makes one forward pass over `x` in inference
    mode, and keeps no features. The weights before the first epoch are
    measured too.

    Adds `"snr_min"`, `"snr_max"` and their quotient `"snr_ratio"`, which
    collapse brings to one, to the `logs` of that epoch: place this callback
    before those that should see them. Where `Sigma_W` is singular they are
    NaN, the first time is printed, and training goes on.

    With `log_dir` everything is on disk at the end of each epoch: in
    `snr.jsonl` (all values and the time, one JSON object per epoch) and in the
    TensorBoard run `snr`, as histograms and scalars. A training that resumes
    at a later epoch goes on there.

    Args:
        x: The training data, as in `nc_keras.measure`.
        y: The training labels, or `None` if `x` is a dataset.
        log_dir: Directory to write to, or `None`. It may be that of
            `NCTensorBoard`.
        epochs: Which epochs are measured, as in `NeuralCollapse`. Defaults to
            `1`, all of them.
        head: As in `nc_keras.measure`.
        batch_size: Integer, for arrays. Defaults to `256`.

    Attributes:
        epochs: Integer array of shape `(T,)`, the measured epochs, counted
            from 1; 0 is before the first.
        times: Array of shape `(T,)`, the sum of the learning rates of all
            steps until then. The rate of an epoch is the one at its end.
        values: Array of shape `(T, r)`, the singular values, the largest
            first; `r` is the smaller of `C - 1` and `D`.

    Raises:
        OSError: If `log_dir` cannot be written to.
        ValueError: If `epochs` is no schedule, or, in training, if the head
            cannot be found or the data are invalid.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile(nc_keras.optimizers.SGD(0.5), loss=nc_keras.losses.MSE())
    >>> snr = nc_keras.callbacks.SignalToNoise(x, y)
    >>> _ = model.fit(x, y, epochs=2, callbacks=[snr], verbose=0)
    >>> snr.epochs, snr.times, snr.values.shape
    (array([0, 1, 2]), array([0., 1., 2.]), (3, 2))

    Reference:

    - [Han, Papyan & Donoho, 2022](https://arxiv.org/abs/2106.02073).
    """

    @formerly_positional("log_dir", "epochs", "head", "batch_size")
    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        log_dir: str | os.PathLike | None = None,
        epochs: int | str | Iterable[int] = 1,
        head: Any = None,
        batch_size: int = 256,
    ):
        super().__init__()
        measured_epochs(epochs, epochs=1)
        self.x = x
        self.y = y
        self.schedule = epochs
        self.head = head
        self.batch_size = batch_size
        self.log_dir = None if log_dir is None else pathlib.Path(log_dir)
        self._clock: dict[int, Any] = {}
        self._measured: dict[int, Any] = {}
        self._extractor = self._rows = self._writer = None

    @property
    def epochs(self) -> np.ndarray:
        return np.array(list(self._measured), "int64")

    @property
    def times(self) -> np.ndarray:
        return np.array([self._clock[epoch] for epoch in self._measured])

    @property
    def values(self) -> np.ndarray:
        return np.array(list(self._measured.values()))

    def measure(self) -> np.ndarray:
        """Measures now, and returns the singular values.

        Raises:
            ValueError: If `Sigma_W` is singular, or the data are invalid.
        """
        return central_path.snr(self._statistics())

    def get_state(self) -> dict:
        """What `Checkpoint` keeps; what was written is then on the disk."""
        for writer in (self._rows, self._writer):
            if writer is not None:
                writer.sync()
        return {
            "clock": list(self._clock.items()),
            "measured": list(self._measured),
            "values": self.values,
        }

    def set_state(self, state: dict) -> None:
        """Goes on where `get_state()` was called."""
        self._clock = {int(epoch): time for epoch, time in state["clock"]}
        self._measured = dict(
            zip(state["measured"], state["values"], strict=True)
        )

    def on_train_begin(self, logs=None):
        if self.log_dir is not None:
            writable_directory(self.log_dir / "snr")
        self._wanted = measured_epochs(self.schedule, self.params["epochs"])
        self._begun = self._has_told = False

    def on_epoch_begin(self, epoch, logs=None):
        # Only here is it known at which epoch a resumed training starts.
        if self._begun:
            return
        self._begun = True
        self._open(epoch)
        self._steps = self._finished_steps()
        self._clock.setdefault(epoch, max(self._clock.values(), default=0.0))
        if epoch == 0:
            self._record(0, self.model.built)

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        steps = self._finished_steps()
        passed = (steps - self._steps) * self._learning_rate()
        self._clock[epoch + 1] = self._clock[epoch] + passed
        self._steps = steps
        logs.update(dict.fromkeys(_KEYS, UNMEASURED))
        is_due = epoch + 1 in self._wanted or max(self._measured, default=0) < 1
        logs.update(self._record(epoch + 1, is_due))

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()

    def _statistics(self):
        if self._extractor is None or self._extractor.model is not self.model:
            self._extractor = FeatureExtractor(self.model, self.head)
        # No memory: one pass is enough, and what is kept is the scatter.
        source = FeatureSource(
            self._extractor, self.x, self.y, self.batch_size, memory=0
        )
        return measurement_of(
            self._extractor,
            source,
            metrics="nc2_equinorm_means",
            scatter=True,
        ).statistics

    def _record(self, epoch, is_measured):
        """Measures if so, writes, and returns what goes into `logs`."""
        row = {"epoch": epoch, "time": self._clock[epoch]}
        found = {}
        if is_measured:
            values = self._measured[epoch] = self._values_or_nan(epoch)
            low, high = float(values.min()), float(values.max())
            ratio = high / low if low else np.inf
            found = dict(zip(_KEYS, (low, high, ratio), strict=True))
            for number, value in enumerate(values.tolist(), start=1):
                row[f"snr_{number}"] = value
        if self._rows is not None:
            self._rows.write(row)
        if found and self._writer is not None and math.isfinite(ratio):
            scalars = {key.replace("_", "/"): v for key, v in found.items()}
            self._writer.scalars(epoch, scalars)
            self._writer.histogram(epoch, "singular_values/snr", values)
        return found

    def _values_or_nan(self, epoch):
        try:
            return self.measure()
        except (NonFiniteError, central_path.SingularError) as error:
            reason = error
        if not self._has_told:
            print(f"After epoch {epoch}: no signal-to-noise values. {reason}")
        self._has_told = True
        dim, classes = self._extractor.kernel.shape
        return np.full(min(dim, classes - 1), np.nan)

    def _open(self, epoch):
        """Keeps what was measured until an epoch, and opens the files."""
        if self.log_dir is not None:
            if epoch == 0:
                # Puts the file of an earlier training aside, but for its
                # epoch 0, which the next line takes out.
                JSONLinesWriter(self.log_dir / "snr.jsonl")
            first = epoch + 1 if epoch else 0
            self._rows = JSONLinesWriter(self.log_dir / "snr.jsonl", first)
            self._writer = TensorBoardWriter(self.log_dir / "snr", first)
            self._read(self._rows.earlier)
        last = epoch if epoch else -1
        self._clock = {e: t for e, t in self._clock.items() if e <= last}
        self._measured = {
            e: values for e, values in self._measured.items() if e <= last
        }

    def _read(self, rows):
        self._clock = {row["epoch"]: row["time"] for row in rows}
        self._measured = {
            row["epoch"]: np.array(
                [v for k, v in row.items() if k.startswith("snr_")], "float64"
            )
            for row in rows
            if "snr_1" in row
        }

    def _finished_steps(self):
        return int(ops.convert_to_numpy(self.model.optimizer.iterations))

    def _learning_rate(self):
        return float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
