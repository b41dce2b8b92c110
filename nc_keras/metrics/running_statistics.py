import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.geometry import validate_dim
from nc_keras.geometry import validate_num_classes
from nc_keras.labels import weighted_rows
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.metrics.centered_sums import CenteredSums
from nc_keras.metrics.centered_sums import to_tensor


@keras.saving.register_keras_serializable(package="nc_keras")
class RunningStatistics(CenteredSums):
    """Class statistics of features that change while they are gathered.

    What one batch sees is seen with the same weights. So the scatter about
    the means of each batch is that of the examples alone, however the means
    drift from step to step; with `n - 1` in place of `n` it is unbiased.

    What else is summed up is centred at reference points that stay when the
    state is reset: the means of the epoch before, or of the first batch.

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
        self.num_classes = num_classes = validate_num_classes(num_classes)
        self.dim = dim = validate_dim(dim)
        self.add_state(
            num_classes,
            dim,
            batches=(num_classes,),
            within_squares=(num_classes,),
            within_scatter=(dim, dim),
        )

    @property
    def references(self) -> Any:
        """`(C, D)`, the points about which features are summed up."""
        return self._state["references"]

    def set_references(self, means: Any) -> None:
        """Sets the points `(C, D)` about which features are summed up."""
        self.references.assign(means)
        self._state["known"].assign(ops.ones(self.num_classes, self.dtype))

    def update_state(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        features = ops.cast(to_tensor(y_pred, "Features"), self.dtype)
        if sample_weight is not None:
            sample_weight = ops.cast(
                ops.convert_to_tensor(sample_weight), "bool"
            )
        member = weighted_rows(
            to_tensor(y_true, "Labels"),
            features,
            self.num_classes,
            sample_weight,
        )
        counts, sums, residuals = self.add(member, features)
        shifts = sums / ops.maximum(counts, 1.0)[:, None]
        within = residuals - self.rows_of(shifts, member)
        self.add_squares("within_", member, within)
        self.add_to("batches", ops.cast(counts > 0, self.dtype))

    def reset_state(self) -> None:
        """Forgets the examples, and keeps the reference points."""
        for name, variable in self._state.items():
            if name not in ("references", "known"):
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
            The statistics, or `None` if a feature was NaN or infinite.

        Raises:
            ValueError: If a label named no class.
        """
        parts = self.parts()
        statistics = self.class_statistics(parts)
        if statistics is None:
            return None
        statistics = dataclasses.replace(
            statistics, counts=np.rint(statistics.counts).astype("int64")
        )
        sums = {k: np.add.reduce([p[k] for p in parts]) for k in parts[0]}
        counts, batches = sums["counts"], sums["batches"]
        if not (without_drift and _tells(counts, batches)):
            return statistics
        free = counts - batches
        each = np.maximum(counts - 1, 0) / np.maximum(free, 1)
        whole = (counts.sum() - np.count_nonzero(counts)) / free.sum()
        return dataclasses.replace(
            statistics,
            squares=sums["within_squares"] * each,
            scatter=sums["within_scatter"] * whole,
        )

    def get_config(self):
        config = super().get_config()
        config.update(num_classes=self.num_classes, dim=self.dim)
        return config


def _tells(counts, batches):
    """Whether batches hold enough examples of a class to tell its scatter."""
    seen = counts > 0
    return seen.any() and (counts >= 2 * batches)[seen].all()
