from typing import Any

import keras
from keras import ops

from nc_keras.losses.output_loss import OutputLoss
from nc_keras.losses.output_loss import validated_targets


@keras.saving.register_keras_serializable(package="nc_keras")
class BCE(OutputLoss):
    """Binary cross-entropy of raw outputs: each class against all others.

    For one example with outputs `f` and class `y`,

    `loss = log(1 + exp(-f_y)) + sum over c != y of log(1 + exp(f_c))`,

    the sum over the classes, not their mean. With `targets="multi_hot"` an
    example may have several classes, or none. Its minimum over unconstrained
    features is a simplex ETF, whose bias sets a level that all outputs of the
    own class exceed, and no other does, see
    `nc_keras.theory.unconstrained_features.binary_cross_entropy`.

    Example:

    >>> loss = nc_keras.losses.BCE(targets="multi_hot")
    >>> print(f"{float(loss([[1, 1]], [[0.0, 0.0]])):.4f}")
    1.3863

    Args:
        targets: `"labels"`; or `"multi_hot"` for rows with any zeros and ones.
            Labels are still taken. Defaults to `"labels"`.
        reduction: As in `keras.losses.Loss`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.

    Call arguments:
        y_true: Integer labels of shape `(batch_size,)` or `(batch_size, 1)`,
            or one-hot or multi-hot labels of shape `(batch_size, C)`.
        y_pred: Raw outputs (no sigmoid), shape `(batch_size, C)`.

    Raises:
        ValueError: If `targets` is unknown, or the shapes do not fit each
            other.

    Reference:

    - [Li, Xiao & Shen, 2025](https://arxiv.org/abs/2505.05813).
    """

    def __init__(
        self,
        targets: str = "labels",
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "bce",
        dtype: Any = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.targets = validated_targets(targets, "multi_hot")

    def compute(self, targets: Any, outputs: Any) -> Any:
        signs = 1 - 2 * targets
        return ops.sum(ops.softplus(signs * outputs), axis=-1)

    def get_config(self):
        config = super().get_config()
        config.update(targets=self.targets)
        return config
