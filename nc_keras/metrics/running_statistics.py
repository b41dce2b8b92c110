from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.labels import weighted_rows
from nc_keras.metrics.class_statistics import ClassStatistics


@keras.saving.register_keras_serializable(package="nc_keras")
class RunningStatistics(keras.metrics.Metric):
    """Class statistics of features that change while they are gathered.

    The state is a sum over batches, so that any number of devices adds up to
    it. It is centred at reference points that are set from outside, and stay
    when the state is reset: the means of the epoch before.

    What one batch sees is seen with the same weights. So the scatter about
    the means of each batch is that of the examples alone, however the means
    drift from step to step; with `n - 1` in place of `n` it is unbiased.

    Args:
        num_classes: Integer, the number of classes `C`, at least 2.
        dim: Integer, the dimension `D` of the features.
        name: Optional name of the metric.
        dtype: The dtype of the state. Defaults to `"float32"`.

    Call arguments:
        y_true: Integer or one-hot labels.
        y_pred: Features of shape `(batch_size, D)`.
        sample_weight: Optional; examples of weight zero do not count, and
            may have any label.

    Example:

    >>> statistics = nc_keras.metrics.RunningStatistics(2, 2)
    >>> features = np.array([[0.0, 1.0], [2.0, 1.0], [5.0, 5.0], [7.0, 5.0]])
    >>> statistics.update_state([0, 0, 1, 1], features)
    >>> statistics.update_state([0, 0, 1, 1], features + 10)  # all drifted
    >>> statistics.statistics().squares.tolist()
    [6.0, 6.0]
    >>> statistics.statistics(without_drift=False).squares.tolist()
    [204.0, 204.0]
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        name: str = "running_statistics",
        dtype: Any = "float32",
    ):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.dim = dim
        self.references = self.add_variable(
            (num_classes, dim), "zeros", self.dtype, "mean", "references"
        )
        shapes = {
            "counts": (num_classes,),
            "batches": (num_classes,),
            "sums": (num_classes, dim),
            "squares": (num_classes,),
            "drift_squares": (num_classes,),
            "scatter": (dim, dim),
            "drift_scatter": (dim, dim),
        }
        self._sums = {
            key: self.add_variable(shape, "zeros", self.dtype, name=key)
            for key, shape in shapes.items()
        }

    def update_state(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        features = ops.cast(y_pred, self.dtype)
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight) != 0
        labels = ops.convert_to_tensor(y_true)
        member = weighted_rows(
            labels, features, self.num_classes, sample_weight
        )
        counts = ops.sum(member, axis=0)
        residuals = features - ops.matmul(member, self.references)
        residuals = residuals * ops.sum(member, axis=1, keepdims=True)
        sums = ops.matmul(ops.transpose(member), residuals)
        shifts = sums / ops.maximum(counts, 1.0)[:, None]
        parts = {
            "counts": counts,
            "batches": ops.cast(counts > 0, self.dtype),
            "sums": sums,
            "squares": ops.matmul(ops.sum(residuals**2, axis=1), member),
            "drift_squares": ops.sum(sums * shifts, axis=1),
            "scatter": ops.matmul(ops.transpose(residuals), residuals),
            "drift_scatter": ops.matmul(ops.transpose(sums), shifts),
        }
        for key, part in parts.items():
            self._sums[key].assign_add(part)

    def reset_state(self) -> None:
        """Forgets the examples, and keeps the reference points."""
        for variable in self._sums.values():
            variable.assign(ops.zeros(variable.shape, variable.dtype))

    def result(self) -> dict:
        """Nothing: what a step has seen is evaluated once an epoch."""
        return {}

    def statistics(self, without_drift: bool = True) -> ClassStatistics | None:
        """The statistics since the last reset, in float64.

        Args:
            without_drift: Boolean, whether to leave out how far the means
                moved between batches. Where batches hold too few examples of
                a class to tell, that is left in.

        Returns:
            The statistics, or `None` if there are no finite ones.
        """
        sums = {
            key: ops.convert_to_numpy(variable).astype("float64")
            for key, variable in self._sums.items()
        }
        if not all(np.isfinite(array).all() for array in sums.values()):
            return None
        counts = sums["counts"]
        shifts = sums["sums"] / np.maximum(counts, 1)[:, None]
        references = ops.convert_to_numpy(self.references).astype("float64")
        if without_drift and _tells(counts, sums["batches"]):
            free = counts - sums["batches"]
            squares = sums["squares"] - sums["drift_squares"]
            squares *= np.maximum(counts - 1, 0) / np.maximum(free, 1)
            scatter = sums["scatter"] - sums["drift_scatter"]
            seen = np.count_nonzero(counts)
            scatter *= (counts.sum() - seen) / free.sum()
        else:
            squares = sums["squares"] - np.sum(sums["sums"] * shifts, axis=1)
            scatter = sums["scatter"] - sums["sums"].T @ shifts
        return ClassStatistics(
            counts=np.rint(counts).astype("int64"),
            means=references + shifts,
            squares=np.maximum(squares, 0.0),
            scatter=scatter,
        )

    def get_config(self):
        config = super().get_config()
        config.update(num_classes=self.num_classes, dim=self.dim)
        return config


def _tells(counts, batches):
    """Whether batches hold enough examples of a class to tell its scatter."""
    seen = counts > 0
    return seen.any() and (counts >= 2 * batches)[seen].all()
