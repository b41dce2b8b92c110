from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.callbacks.step_features import StepFeatures
from nc_keras.metrics.collapse_metric import CollapseMetric
from nc_keras.metrics.collapse_metrics import metrics_from_statistics
from nc_keras.metrics.collapse_metrics import tags_from_statistics


class EvaluatedCollapse(keras.callbacks.Callback):
    """Measures neural collapse of what Keras evaluates, in the same pass.

    Class statistics are summed up on the device, as a part of each step of
    `model.evaluate`, or of the validation of `fit`. No feature is copied to
    the host, and the pass that gives the loss gives the metrics too. In `fit`
    they are in the `logs` of the epoch under the tags with `val_` in front
    (`"val_nc1"`).

    The sums are float32's, centred near the class means: the values are those
    of `nc_keras.measure` but for the rounding of features and sums. What needs
    the examples again (`nc4`, `accuracy`) is not among them. Where a class has
    no example, or a feature or the head is not finite, they are NaN. Like
    `val_loss` they are missing in epochs without a validation.

    `fit` compiles the step that measures once, each call of `evaluate` anew.

    Args:
        head: As in `nc_keras.measure`.

    Attributes:
        values: Dictionary with the values of the last evaluation by their
            tags.

    Raises:
        ValueError: If the head cannot be found, or is called more than once;
            if the features of an example are no vector, or the labels not
            one per feature, or of several outputs; and at the end of an
            evaluation if a label names no class or several, or if the model's
            own `test_step` or `compute_loss` hid the examples.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> evaluated = nc_keras.callbacks.EvaluatedCollapse()
    >>> loss = model.evaluate(x, y, callbacks=[evaluated], verbose=0)
    >>> exact = nc_keras.measure(model, x, y)
    >>> bool(abs(evaluated.values["nc1"] / exact["nc1"] - 1) < 1e-4)
    True
    """

    def __init__(self, head: Any = None):
        super().__init__()
        self.head = head
        self.values: dict[str, Any] = {}
        self._steps = StepFeatures("EvaluatedCollapse", training=False)
        self._is_fitting = self._is_new = False

    def set_model(self, model):
        super().set_model(model)
        self._is_fitting = False  # An interrupted `fit` does not say its end.
        self._extractor, self._metric = self._steps.attach_metric(
            model, self.head, _Gathered
        )

    def get_state(self) -> dict:
        """What `Checkpoint` keeps: the last values."""
        return {"values": self.values}

    def set_state(self, state: dict) -> None:
        """Goes on where `get_state()` was called."""
        self.values = state["values"]

    def on_train_begin(self, logs=None):
        self._is_fitting = True

    def on_epoch_begin(self, epoch, logs=None):
        self._is_new = False

    def on_test_end(self, logs=None):
        try:
            self.values = self._metric.evaluated(self._extractor.kernel)
            self._is_new = True
        except ValueError:
            self._is_fitting = False
            raise
        finally:
            if not self._is_fitting:
                self._steps.detach()

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        if self._is_new:
            logs.update({f"val_{tag}": v for tag, v in self.values.items()})

    def on_train_end(self, logs=None):
        self._is_fitting = False
        self._steps.detach()


def _precision():
    """float32, whatever is trained in; float64 where that is all of Keras'."""
    return "float64" if keras.config.floatx() == "float64" else "float32"


class _Gathered(CollapseMetric):
    """Is evaluated once at the end, not in each step."""

    def __init__(self, classes, dim):
        super().__init__(classes, "evaluated_collapse", _precision())
        self.build(dim)

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            # As elsewhere, whatever counts counts once.
            sample_weight = ops.cast(
                ops.convert_to_tensor(sample_weight), "bool"
            )
        super().update_state(y_true, y_pred, sample_weight)

    def result(self):
        return {}

    def evaluated(self, kernel):
        statistics = self.class_statistics(self.parts())
        if statistics is not None and not statistics.counts.any():
            raise ValueError(
                "No example reached `EvaluatedCollapse`. It sees those of a "
                "`test_step` that calls `compute_loss` with `training=False`, "
                "as Keras' own does. Received: a model without, or weights "
                "that are all zero."
            )
        is_finite = statistics is not None and np.isfinite(kernel).all()
        if not is_finite or not statistics.counts.all():
            return dict.fromkeys(tags_from_statistics(), float("nan"))
        return metrics_from_statistics(statistics, kernel)
