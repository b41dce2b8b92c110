"""The signal-to-noise values of the features along a training."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from keras import ops
from typing_extensions import Unpack

from nc_keras.callbacks.epoch_observer import EpochObserver
from nc_keras.callbacks.positional import formerly_positional
from nc_keras.errors import NonFiniteError
from nc_keras.measuring.options import Options
from nc_keras.measuring.options import Plan
from nc_keras.theory import central_path
from nc_keras.writers.files import writable_directory
from nc_keras.writers.json_lines import JSONLinesWriter

_KEYS = ("snr_min", "snr_max", "snr_ratio")


class SignalToNoise(EpochObserver):
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
        mask: As in `nc_keras.measure`.
        **options: As in `nc_keras.measure`, but for `metrics`, `pairs`,
            `memory`, `features` and `missing`.

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

    run = "snr"

    @formerly_positional("log_dir", "epochs", "head", "batch_size")
    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        log_dir: str | os.PathLike | None = None,
        epochs: int | str | Iterable[int] = 1,
        mask: Any = None,
        **options: Unpack[Options],
    ):
        super().__init__(epochs, log_dir)
        self.x = x
        self.y = y
        self.mask = mask
        self.plan = Plan.of(
            options,
            ("metrics", "pairs", "memory", "features", "missing"),
            # One pass is enough, and what is kept is the scatter.
            memory=0,
            metrics="nc2_equinorm_means",
        )
        self._clock: dict[int, Any] = {}
        self._found: dict[int, Any] = {}
        self._extractor: Any = None
        self._rows: Any = None

    @property
    def epochs(self) -> np.ndarray:
        return np.array(list(self._found), "int64")

    @property
    def times(self) -> np.ndarray:
        return np.array([self._clock[epoch] for epoch in self._found])

    @property
    def values(self) -> np.ndarray:
        return np.array(list(self._found.values()))

    def measure(self) -> np.ndarray:
        """Measures now, and returns the singular values.

        Raises:
            ValueError: If `Sigma_W` is singular, or the data are invalid.
        """
        return central_path.snr(self._statistics())

    def get_state(self) -> dict:
        """What `Checkpoint` keeps; what was written is then on the disk."""
        if self._rows is not None:
            self._rows.sync()
        return super().get_state() | {
            "clock": list(self._clock.items()),
            "measured": list(self._found),
            "values": self.values,
        }

    def set_state(self, state: dict) -> None:
        """Goes on where `get_state()` was called."""
        super().set_state(state)
        self._clock = {int(epoch): time for epoch, time in state["clock"]}
        self._found = dict(zip(state["measured"], state["values"], strict=True))

    def first_step(self, epoch: int) -> int:
        return epoch + 1 if epoch else 0

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if self.log_dir is not None:
            writable_directory(pathlib.Path(self.log_dir) / self.run)
        self._begun = self._has_told = False

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        # Only here is it known at which epoch a resumed training starts.
        if self._begun:
            return
        self._begun = True
        self._open(epoch)
        self._steps = self._finished_steps()
        self._clock.setdefault(epoch, max(self._clock.values(), default=0.0))
        if epoch == 0:
            if self.model.built:
                self.observe(0)
            self._write(0)

    def on_epoch_end(self, epoch, logs=None):
        steps = self._finished_steps()
        passed = (steps - self._steps) * self._learning_rate()
        self._clock[epoch + 1] = self._clock[epoch] + passed
        self._steps = steps
        super().on_epoch_end(epoch, logs)
        self._write(epoch + 1)

    def observe(self, epoch: int) -> dict[str, float]:
        values = self._found[epoch] = self._values_or_nan(epoch)
        low, high = float(values.min()), float(values.max())
        ratio = high / low if low else np.inf
        found = dict(zip(_KEYS, (low, high, ratio), strict=True))
        if math.isfinite(ratio):
            scalars = {key.replace("_", "/"): v for key, v in found.items()}
            self.scalars(epoch, scalars)
            self.histogram(epoch, "singular_values/snr", values)
        return found

    def _statistics(self):
        if self._extractor is None or self._extractor.model is not self.model:
            self._extractor = self.plan.extractor(self.model)
        source = self.plan.source(self._extractor, self.x, self.y, self.mask)
        return self.plan.measured(
            self._extractor, source, scatter=True
        ).statistics

    def _write(self, epoch):
        if self._rows is None:
            return
        row = {"epoch": epoch, "time": self._clock[epoch]}
        values = self._found.get(epoch, np.empty(0))
        for number, value in enumerate(values.tolist(), start=1):
            row[f"snr_{number}"] = value
        self._rows.write(row)

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
            path = pathlib.Path(self.log_dir) / "snr.jsonl"
            if epoch == 0:
                # Puts the file of an earlier training aside, but for its
                # epoch 0, which the next line takes out.
                JSONLinesWriter(path)
            self._rows = JSONLinesWriter(path, self.first_step(epoch))
            self._read(self._rows.earlier)
        last = epoch if epoch else -1
        self._clock = {e: t for e, t in self._clock.items() if e <= last}
        self._found = {
            e: values for e, values in self._found.items() if e <= last
        }

    def _read(self, rows):
        self._clock = {row["epoch"]: row["time"] for row in rows}
        self._found = {
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
