"""Neural collapse in the `logs` of a training."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from typing_extensions import Unpack

from nc_keras.callbacks.epoch_observer import EpochObserver
from nc_keras.callbacks.positional import formerly_positional
from nc_keras.callbacks.schedule import loss_of
from nc_keras.graph import back_from
from nc_keras.graph import compiled_loss
from nc_keras.labels import class_labels
from nc_keras.measuring.batches import is_one_shot
from nc_keras.measuring.batches import labels_of
from nc_keras.measuring.batches import refuse_endless
from nc_keras.measuring.batches import validate_lengths
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.loss import MeanLoss
from nc_keras.measuring.options import Options
from nc_keras.measuring.options import Plan
from nc_keras.measuring.options import unpacked
from nc_keras.measuring.registry import METRICS
from nc_keras.measuring.validation import present_classes
from nc_keras.measuring.validation import validate_head
from nc_keras.metrics.mse_decomposition import decomposition_of
from nc_keras.metrics.mse_decomposition import equivalent_decay

# The arrays of a LastLayer that are kept with a checkpoint.
_KEPT = (
    *("means", "variances", "counts", "kernel", "bias", "classes"),
    *("train_means", "train_counts"),
)
_PREFIXES = {"training": "", "validation": "val_"}


class NeuralCollapse(EpochObserver):
    """Measures neural collapse during training and puts it into `logs`.

    Each measured epoch makes one forward pass over `x` (and one over the
    validation data) in inference mode. The values are in the `logs` of that
    epoch, so that `History`, `CSVLogger`, `EarlyStopping` and
    `ModelCheckpoint` see them: place this callback before those. The keys are
    the tags (`"nc1"`, ...), with `"val_"` in front for the validation data.
    The accuracy of this measurement is `"nc_accuracy"`, since `"accuracy"` is
    the running mean that Keras logs.

    In epochs that the schedule leaves out the values are NaN, so that all
    columns are of equal length, and a name such as `"{nc1:.3f}.keras"` can be
    made. The first epoch is measured whatever the schedule says: there other
    callbacks take their columns and the value to be bettered. To
    `EarlyStopping` and `ReduceLROnPlateau` NaN is an epoch without
    improvement; `nc_keras.callbacks.only_measured` lets their patience count
    measurements.

    When the loss or a feature is NaN or infinite, training stops, and says
    so; `TerminateOnNonFinite` stops at the very step.

    Args:
        x: The training data, as in `nc_keras.measure`.
        y: The training labels, or `None` if `x` is a dataset.
        validation_data: Tuple `(x, y)`, or `(x, y, weight)`, of which examples
            of weight zero are left out; or a dataset, or `None`; `False` if
            what `fit` validates on is not to be measured. Its `nc4` and
            `ncc_accuracy` refer to the class means of the training data.
        epochs: Which epochs are measured: an integer `k` for the first, the
            last and every k-th; `"log"` for the papers' 50 log-spaced ones;
            or a list of epochs, counted from 1, to which the first is added.
            Defaults to `1`.
        decompose: Boolean, whether the parts of the MSE loss are measured as
            well (`"mse_nc1"`, `"mse_nc23"`, `"mse_perp"` and
            `"mse_perp_share"`, see `nc_keras.metrics.mse_decomposition`);
            `None` for whenever the model is compiled with that loss.
        mask: As in `nc_keras.measure`, for the training data.
        loss: Boolean, whether to measure the loss in the same pass, as
            `model.evaluate` gives it in batches of this size, with `mask` or
            weights as sample weights: `"nc_loss"`, and `"val_nc_loss"` of the
            validation data, which `fit` then need not validate on. An
            `ignore_label` must be the `ignore_class` of the loss too.
            Defaults to `False`.
        **options: As in `nc_keras.measure`, but that of `metrics` those of
            one value per class cannot be logged: `logs` hold numbers, and
            `"all"` leaves them out. With `across_processes` all data here are
            the share of this process.

    Attributes:
        train_means: Array of shape `(C, D)`, the class means of the training
            data at the last measurement.
        layers: Dictionary with that measurement's
            `nc_keras.metrics.LastLayer` under `""` for the training data and
            `"val_"` for the validation data.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> collapse = nc_keras.callbacks.NeuralCollapse(x, y)
    >>> history = model.fit(x, y, epochs=2, callbacks=[collapse], verbose=0)
    >>> len(history.history["nc1"])
    2
    """

    @formerly_positional(
        "epochs",
        "head",
        "batch_size",
        "missing",
        "metrics",
        "memory",
        "ignore_label",
        "across_processes",
        "decompose",
    )
    def __init__(
        self,
        x: Any,
        y: Any = None,
        validation_data: Any = None,
        *,
        epochs: int | str | Iterable[int] = 1,
        decompose: bool | None = None,
        mask: Any = None,
        loss: bool = False,
        **options: Unpack[Options],
    ):
        super().__init__(epochs)
        options["metrics"] = validate_metrics(options.get("metrics"))
        self.plan = Plan.of(options)
        self.decompose = decompose
        self.mask = mask
        self.loss = loss
        self.x = x
        self.y = y
        self.validation_data = validation_data
        self._is_fitting = False
        self._has_warned = validation_data is False
        if validation_data is False:
            self.validation_data = None
        self.train_means = None
        self.layers: dict[str, LastLayer] = {}
        self._extractor: Any = None
        self._loss_is: Any = None  # It is compiled into the forward pass.
        self._has_head = False

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._is_fitting = True
        epochs = self.params["epochs"]
        if min(self._measured) > epochs:
            raise ValueError(
                f"None of the {epochs} epochs would be measured. "
                f"Received: epochs={self.schedule!r}."
            )
        # What is wrong with loss, head or data is better known now than after
        # an epoch; some models are only built by their first step.
        if self.loss:
            MeanLoss(self.model)
        if self.model.built:
            self._find_features()
        for name, (x, y, mask) in self._data().items():
            # Which of several labels are meant is known once there is a head.
            is_known = self._extractor is not None or not isinstance(y, dict)
            if y is not None and is_known and not self.plan.across_processes:
                with _about(name):
                    y = labels_of(y, self._outputs())
                    self._validate_labels(validate_lengths(x, y), mask)
            if y is None:
                refuse_endless(x)
            if y is None and is_one_shot(x):
                raise ValueError(
                    f"The {name} data can be iterated only once, and are "
                    "measured again and again. Pass arrays, or a dataset that "
                    "starts anew. "
                    f"Received: an iterator of type {type(x).__name__}."
                )

    def on_train_end(self, logs=None):
        super().on_train_end(logs)
        self._is_fitting = False

    def get_state(self) -> dict:
        """What `Checkpoint` keeps: the last measurement."""
        layers = {
            prefix: {name: getattr(layer, name) for name in _KEPT}
            for prefix, layer in self.layers.items()
        }
        own = {"train_means": self.train_means, "layers": layers}
        return super().get_state() | own

    def set_state(self, state: dict) -> None:
        """Goes on where `get_state()` was called."""
        super().set_state(state)
        self.train_means = state["train_means"]
        self.layers = {
            prefix: LastLayer(**values)
            for prefix, values in state["layers"].items()
        }

    def on_test_begin(self, logs=None):
        # Of the data that `fit` validates on a callback sees nothing.
        is_unknown = self._is_fitting and self.validation_data is None
        if is_unknown and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                "`fit` validates on data that are not measured. Pass them to "
                f"`{type(self).__name__}` too, as `validation_data`, or "
                "`validation_data=False` to leave them unmeasured.",
                stacklevel=2,
            )

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        loss = loss_of(logs)
        if not math.isfinite(loss):
            self.stop(epoch, f"The loss is {loss}.")
        super().on_epoch_end(epoch, logs)

    def observe(self, epoch: int) -> dict[str, float]:
        return self.measure()

    def measure(self) -> dict[str, float]:
        """Measures now, and returns the values under the keys of `logs`."""
        self._find_features()
        values = {}
        for name, data in self._data().items():
            with _about(name):
                values.update(self._measure(data, _PREFIXES[name]))
        return values

    @property
    def decay(self) -> float | None:
        """The decay of the MSE loss, where its parts are measured."""
        if self.decompose is False or self.model.loss is None:
            return None
        # The loss is not one of the features of another layer.
        is_other = self.plan.features is not None
        decay = None if is_other else equivalent_decay(self.model)
        if decay is not None and self._extractor is not None:
            decay = _decay_of_head(self.model, self._extractor.head, decay)
        if decay is None and self.decompose:
            raise ValueError(
                "The MSE loss can be decomposed with `nc_keras.losses.MSE`, "
                "`nc_keras.optimizers.SGD` or an optimizer without weight "
                "decay, and a linear head that makes the outputs. "
                f"Received: loss={self.model.loss!r}, "
                f"optimizer={self.model.optimizer.name!r}."
            )
        return decay

    def _data(self):
        data = {"training": (self.x, self.y, self.mask)}
        if self.validation_data is not None:
            given = self.validation_data
            is_list = isinstance(given, list)
            data["validation"] = unpacked(tuple(given) if is_list else given)
        return data

    def _validate_labels(self, y, mask):
        if not self._has_head:
            return
        if mask is not None:
            y = y[np.asarray(mask, "bool")]  # Any other label may be anything.
        classes = self._extractor.kernel.shape[1]
        if y.ndim > 1 and y.shape[-1] not in (1, classes):
            y = y.reshape(-1)  # of tokens
        ignored = self.plan.ignore_label
        if ignored is not None and y.ndim == 1:
            y = y[y != ignored]
        labels, classes = class_labels(y, classes)
        counts = np.bincount(labels, minlength=classes)
        present_classes(counts, self.plan.missing)

    def _outputs(self):
        return self._extractor.outputs if self._extractor else []

    def _find_features(self):
        compiled = compiled_loss(self.model) if self.loss else None
        is_known = self._extractor is not None and self._loss_is is compiled
        if not is_known or self._extractor.model is not self.model:
            self._loss_is = compiled
            self._extractor = self.plan.extractor(self.model)
            # Decided once: whether a head fits another layer's features is
            # known after a pass, and all epochs must have the same keys.
            self._has_head = self._extractor.kernel is not None

    def _weights(self):
        """The head's kernel and bias of now; `None` without a head."""
        if not self._has_head:
            return None, None
        return self._extractor.kernel, self._extractor.bias

    def _measure(self, data, prefix):
        metrics = self.plan.metrics
        if metrics is not None:
            other = "training_set" if prefix else "train_means"
            metrics = [t for t in metrics if other not in _needs(t)]
        loss = MeanLoss(self.model) if self.loss else None
        measurement = self.plan.measured(
            self._extractor,
            self.plan.source(self._extractor, *data, loss=loss),
            self._weights(),
            train_means=self.train_means if prefix else None,
            train_counts=self.layers[""].class_sizes if prefix else None,
            metrics=metrics,
            scatter=True if self.decay is not None else None,
        )
        if not prefix:
            self.train_means = measurement.class_means
        self.layers[prefix] = measurement.layer
        values = measurement.values(self.plan.pairs)
        values |= self._parts(measurement)
        if loss is not None:
            values["loss"] = loss.result(self.plan.gather)
        return {prefix + log_key(tag): v for tag, v in values.items()}

    def _parts(self, measurement):
        if self.decay is None or not measurement.statistics.counts.all():
            return {}
        head = validate_head(*self._weights())
        parts = decomposition_of(measurement.statistics, *head, self.decay)
        names = ("nc1", "nc23", "perp", "perp_share")
        return {f"mse_{name}": getattr(parts, name) for name in names}


def _decay_of_head(model, head, decay):
    """The decay of the head's weights, or `None` if the loss is not its."""
    activation = getattr(head, "activation", None)
    is_linear = activation in (None, keras.activations.linear)
    last = model
    while isinstance(last, keras.Model) and getattr(last, "outputs", None):
        last = next(back_from(last.outputs[0]))
    if not is_linear or last is not head:
        return None
    bias = getattr(head, "bias", None)
    trained = [w for w in head.trainable_weights if w is not bias]
    if any(weight is head.kernel for weight in trained):
        return decay
    # A kernel that is made of other weights is not what decays.
    return 0.0 if not trained or not decay else None


def validate_metrics(metrics):
    if metrics is None:
        return None
    fit = [
        tag
        for tag, m in METRICS.items()
        if not m.per_class and "ood" not in m.needs
    ]
    if isinstance(metrics, str):
        metrics = fit if metrics == "all" else [metrics]
    metrics = list(metrics)
    unfit = [tag for tag in metrics if tag not in fit]
    if unfit or not metrics:
        raise ValueError(
            f"The metrics to log are of: {', '.join(fit)}. Received: {unfit}."
        )
    return metrics


def _needs(tag):
    return METRICS[tag].needs


@contextlib.contextmanager
def _about(name):
    """Says of an error which data it is about."""
    try:
        yield
    except ValueError as error:
        raise type(error)(f"In the {name} data: {error}") from error


def log_key(tag: str) -> str:
    """The key in `logs`, where Keras has an accuracy and a loss of its own."""
    return f"nc_{tag}" if tag in ("accuracy", "loss") else tag
