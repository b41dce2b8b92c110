import dataclasses
from collections.abc import Iterable
from typing import Any

import keras

from nc_keras.callbacks.schedule import measured_epochs
from nc_keras.features import FeatureExtractor
from nc_keras.metrics.class_statistics import NonFiniteError
from nc_keras.metrics.collapse_metrics import evaluate_in_float64
from nc_keras.metrics.collapse_metrics import last_layer


class NeuralCollapse(keras.callbacks.Callback):
    """Measures neural collapse during training and puts it into `logs`.

    Each measured epoch makes one forward pass over `x` (and one over the
    validation data) in inference mode. The values are in the `logs` of that
    epoch, so that `History`, `CSVLogger`, `EarlyStopping` and
    `ModelCheckpoint` see them: place this callback before those. The keys are
    the tags (`"nc1"`, ...), with `"val_"` in front for the validation data.
    The accuracy of this measurement is `"nc_accuracy"`, since `"accuracy"` is
    the running mean that Keras logs.

    When a feature is NaN or infinite, training stops, and says so.

    Args:
        x: The training data, as in `nc_keras.measure`.
        y: The training labels, or `None` if `x` is a dataset.
        validation_data: Tuple `(x, y)`, or a dataset, or `None`. Its `nc4` and
            `ncc_accuracy` refer to the class means of the training data.
        epochs: Which epochs are measured: an integer `k` for the first, the
            last and every k-th; `"log"` for the papers' 50 log-spaced ones;
            or a list of epochs, counted from 1. Defaults to `1`.
        head: As in `nc_keras.measure`.
        batch_size: Integer, for arrays. Defaults to `256`.
        missing: As in `nc_keras.metrics.collapse_metrics`.

    Attributes:
        train_means: Array of shape `(C, D)`, the class means of the training
            data at the last measurement.
        layers: Dictionary with that measurement's
            `nc_keras.metrics.LastLayer`, without the examples, under `""` for
            the training data and `"val_"` for the validation data.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> collapse = nc_keras.callbacks.NeuralCollapse(x, y)
    >>> history = model.fit(x, y, epochs=2, callbacks=[collapse], verbose=0)
    >>> len(history.history["nc1"])
    2
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        validation_data: Any = None,
        epochs: int | str | Iterable[int] = 1,
        head: Any = None,
        batch_size: int = 256,
        missing: str = "raise",
    ):
        super().__init__()
        measured_epochs(epochs, epochs=1)
        self.x = x
        self.y = y
        self.validation_data = validation_data
        self.epochs = epochs
        self.head = head
        self.batch_size = batch_size
        self.missing = missing
        self.train_means = None
        self.layers = {}
        self._extractor = None

    def on_train_begin(self, logs=None):
        self._measured = measured_epochs(self.epochs, self.params["epochs"])
        if self.model.built:
            self._find_features()  # A head that is not found is known at once.

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 not in self._measured:
            return
        try:
            values = self.measure()
        except NonFiniteError as error:
            steps = self.params.get("steps")
            where = f"Epoch {epoch + 1}" + (f", step {steps}" if steps else "")
            print(f"{where}: training stops. {error}")
            self.model.stop_training = True
            return
        if logs is not None:
            logs.update(values)

    def measure(self) -> dict[str, float]:
        """Measures now, and returns the values under the keys of `logs`."""
        self._find_features()
        values = self._measure(self.x, self.y, "")
        if self.validation_data is not None:
            data = self.validation_data
            x, y = data if isinstance(data, tuple | list) else (data, None)
            values.update(self._measure(x, y, "val_", self.train_means))
        return values

    def _find_features(self):
        if self._extractor is None or self._extractor.model is not self.model:
            self._extractor = FeatureExtractor(self.model, self.head)

    def _measure(self, x, y, prefix, train_means=None):
        features, labels = self._extractor(x, y, self.batch_size)
        layer = last_layer(
            features,
            labels,
            self._extractor.kernel,
            self._extractor.bias,
            train_means=train_means,
            missing=self.missing,
        )
        if train_means is None:
            self.train_means = layer.examples.means
        values = evaluate_in_float64(layer)
        # The features themselves are not kept until the next measurement.
        self.layers[prefix] = dataclasses.replace(
            layer, examples=None, within_variance=None
        )
        return {prefix + log_key(tag): v for tag, v in values.items()}


def log_key(tag: str) -> str:
    """The key of a metric in `logs`, where Keras has its own accuracy."""
    return "nc_accuracy" if tag == "accuracy" else tag
