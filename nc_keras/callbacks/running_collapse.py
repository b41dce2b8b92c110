from typing import Any

import keras

from nc_keras.callbacks.schedule import UNMEASURED
from nc_keras.callbacks.step_features import StepFeatures
from nc_keras.metrics.collapse_metrics import metrics_from_statistics
from nc_keras.metrics.collapse_metrics import tags_from_statistics
from nc_keras.metrics.running_statistics import RunningStatistics


class RunningCollapse(keras.callbacks.Callback):
    """Estimates neural collapse from the forward passes of the training.

    No example is looked at twice: class statistics are summed up on the
    device as a part of each training step, and evaluated in float64 once an
    epoch. The values are in the `logs` of the epoch under the tags with
    `running_` in front (`"running_nc1"`).

    They are estimates, as the training accuracy that Keras logs is one: each
    batch is seen with the weights of its step, with Dropout and with batch
    statistics in `BatchNormalization`. That the class means drift from step
    to step does not count as within-class variance, see
    `nc_keras.metrics.RunningStatistics`; that the means of the epoch are
    those of its middle remains. With small learning rates, and without such
    layers, they agree with `NeuralCollapse`. What needs the examples again
    (`nc4`, `accuracy`) is not among them. After an epoch that lacks a class
    they are NaN. Examples do not count whose sample weight is 0, or whose
    label is the `ignore_class` of the model's loss.

    Args:
        head: As in `nc_keras.measure`.
        without_drift: Boolean, whether the drift of the class means within
            an epoch is left out of the within-class variance. Defaults to
            `True`.

    Raises:
        ValueError: If the head cannot be found, or is called more than once;
            if the labels are not one per feature, or of several outputs; and
            at the end of an epoch that met a label that names no class or
            several.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> running = nc_keras.callbacks.RunningCollapse()
    >>> history = model.fit(x, y, epochs=2, callbacks=[running], verbose=0)
    >>> len(history.history["running_nc1"])
    2
    """

    def __init__(self, head: Any = None, without_drift: bool = True):
        super().__init__()
        self.head = head
        self.without_drift = without_drift
        self._steps = StepFeatures("RunningCollapse")

    def set_model(self, model):
        super().set_model(model)
        self._means = self._statistics = None
        self._extractor, self._metric = self._steps.attach_metric(
            model, self.head, RunningStatistics
        )

    def get_state(self) -> dict:
        """What `Checkpoint` keeps: the class means of the last epoch."""
        return {"means": self._means}

    def set_state(self, state: dict) -> None:
        """Goes on where `get_state()` was called."""
        self._means = state["means"]

    def on_epoch_begin(self, epoch, logs=None):
        self._statistics = None
        if self._means is not None:
            self._metric.set_references(self._means)

    def on_test_begin(self, logs=None):
        # A validation resets all metrics before the epoch has ended.
        self._gather()

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        self._gather()
        logs |= {f"running_{tag}": UNMEASURED for tag in tags_from_statistics()}
        statistics = self._statistics
        if statistics is None or not statistics.counts.all():
            return
        self._means = statistics.means.astype("float32")
        values = metrics_from_statistics(statistics, self._extractor.kernel)
        logs.update({f"running_{tag}": v for tag, v in values.items()})

    def on_train_end(self, logs=None):
        self._steps.detach()

    def _gather(self):
        if self._statistics is not None:
            return
        try:
            self._statistics = self._metric.statistics(self.without_drift)
        except ValueError:
            self._steps.detach()
            raise
