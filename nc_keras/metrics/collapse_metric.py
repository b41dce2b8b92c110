from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.geometry import validate_num_classes
from nc_keras.labels import weighted_rows
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.evaluation import available
from nc_keras.measuring.evaluation import evaluate
from nc_keras.measuring.evaluation import with_principal_variances
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import select
from nc_keras.metrics.centered_sums import CenteredSums
from nc_keras.metrics.centered_sums import to_tensor
from nc_keras.metrics.collapse_metrics import metrics_from_statistics
from nc_keras.metrics.collapse_metrics import tags_from_statistics


@keras.saving.register_keras_serializable(package="nc_keras")
class CollapseMetric(CenteredSums):
    """Neural-collapse metrics of features that arrive batch by batch.

    The state lives on the device and takes `O(C D + D^2)` memory, whatever
    the number of examples. Each class is centred at a reference point, the
    mean of the first batch that holds it, before anything is squared.
    Replicas of a distribution strategy keep a state each, which `result()`
    merges.

    Outside a compiled function `result()` ends in float64. Inside one, as a
    metric of `model.compile()`, it is computed on the device in the metric's
    own dtype. The metrics of the head are added by `result(kernel)`. `nc4` and
    `accuracy` need every example once more and the final means:
    `nc_keras.measure` has them.

    Args:
        num_classes: Integer, the number of classes `C`, at least 2.
        name: Optional name of the metric.
        dtype: The dtype of the state. Defaults to `"float32"`.

    Call arguments:
        y_true: Integer labels of shape `(batch_size,)` or `(batch_size, 1)`,
            or one-hot labels of shape `(batch_size, C)`.
        y_pred: Features of shape `(batch_size, D)`.
        sample_weight: Optional weights of shape `(batch_size,)` or
            `(batch_size, 1)`. An example of weight 0 may have any label.

    Returns:
        A dictionary from tags to scalars. Values are NaN until every class
        has had an example, and after a feature or label that is invalid.

    Raises:
        ValueError: If `num_classes < 2`, or if shapes do not fit.

    Example:

    >>> metric = nc_keras.metrics.CollapseMetric(2)
    >>> metric.update_state([0, 0], np.array([[0.0, 1.0], [2.0, 1.0]]))
    >>> metric.update_state([1], np.array([[5.0, 5.0]]))
    >>> print(round(metric.result()["nc1_cdnv"], 6))
    0.015625

    Reference:

    - [Chan, Golub & LeVeque, 1983](https://doi.org/10.1080/00031305.1983.10483115),
      for sums about a reference point.
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "collapse",
        dtype: Any = None,
    ):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = validate_num_classes(num_classes)
        self._built = False

    def build(self, dim: int) -> None:
        """Creates the state for features of dimension `dim`."""
        self.add_state(self.num_classes, dim)
        self._built = True

    def update_state(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        y_true = to_tensor(y_true, "Labels")
        features = ops.cast(to_tensor(y_pred, "Features"), self.dtype)
        member = self._memberships(y_true, features, sample_weight)
        if not self._built:
            self.build(features.shape[-1])
        self.add(member, features)

    def statistics(self) -> ClassStatistics:
        """The statistics so far, in float64.

        Raises:
            ValueError: If there was no example, or an invalid one.
        """
        if not self._built:
            raise ValueError(
                "No example was given to `update_state()`, so there are no "
                "statistics."
            )
        found = self.class_statistics(self.parts())
        if found is None:
            raise ValueError("A feature was NaN or infinite.")
        return found

    def result(self, kernel: Any = None) -> dict[str, Any]:
        """Returns the metrics of the examples so far.

        Args:
            kernel: The head's weights, shape `(D, C)`, or `None` to measure
                the features alone.
        """
        if not self._built:
            return {}
        try:
            counts = ops.convert_to_numpy(self.counts)
            scatter = ops.convert_to_numpy(self._state["scatter"])
        except (
            AttributeError,
            NotImplementedError,
            RuntimeError,
            TypeError,
        ):  # A tensor of a function being compiled has no value yet.
            return self._result_on_device(kernel)
        if not (counts > 0).all() or not np.isfinite(scatter).all():
            tags = tags_from_statistics(kernel is not None)
            return dict.fromkeys(tags, float("nan"))
        if kernel is not None:
            kernel = ops.convert_to_numpy(kernel)
        return metrics_from_statistics(self.statistics(), kernel)

    def get_config(self):
        config = super().get_config()
        config.update(num_classes=self.num_classes)
        return config

    def _result_on_device(self, kernel):
        # Without this an SVD would meet the NaN of a class not yet seen.
        seen = ops.all(self.counts > 0)
        counts = ops.where(self.counts == 0, 1.0, self.counts)
        state = {k: ops.convert_to_tensor(v) for k, v in self._state.items()}
        sums = state["sums"]
        shifts = sums / counts[:, None]
        scatter = state["scatter"] - ops.matmul(ops.transpose(sums), shifts)
        squares = state["squares"] - ops.sum(sums * shifts, axis=1)
        # In units of the state, where squares are neither 0 nor infinite.
        layer = LastLayer(
            means=state["references"] / state["unit"] + shifts,
            variances=squares / counts,
            counts=counts,
            scatter=scatter / ops.sum(counts),
            kernel=None if kernel is None else ops.transpose(kernel),
            xp=ops,
        )
        layer = with_principal_variances(layer)
        values = evaluate(layer, select(None, available(layer)))
        return {
            tag: ops.where(seen, value, float("nan"))
            for tag, value in values.items()
        }

    def _memberships(self, y_true, features, weights):
        if len(features.shape) != 2 or (
            self._built and features.shape[1] != self._state["sums"].shape[1]
        ):
            dim = self._state["sums"].shape[1] if self._built else "D"
            raise ValueError(
                f"Features must have the shape (batch_size, {dim}). "
                f"Received: features of shape {tuple(features.shape)}."
            )
        return weighted_rows(y_true, features, self.num_classes, weights)
