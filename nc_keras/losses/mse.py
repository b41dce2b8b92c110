from typing import Any

import keras
from keras import ops

from nc_keras.losses.output_loss import OutputLoss
from nc_keras.losses.output_loss import validated_targets

_CLASS_REDUCTIONS = {"mean": ops.mean, "sum": ops.sum}


@keras.saving.register_keras_serializable(package="nc_keras")
class MSE(OutputLoss):
    """Squared error between raw network outputs and one-hot targets.

    For one example with outputs `f` and class `y`,

    `loss = (1/C) sum_c (f_c - [c = y])^2` with `class_reduction="mean"`,
    `loss = sum_c (f_c - [c = y])^2` with `class_reduction="sum"`.

    With `targets="soft"` the probabilities of a row take the place of
    `[c = y]`.

    Args:
        class_reduction: `"mean"`, as PyTorch and Keras average over the
            outputs, or `"sum"`, as the theory writes the loss. They differ by
            the factor `C`, and so does the weight decay that balances them.
            Defaults to `"mean"`.
        targets: `"labels"`; or `"soft"` for rows with any probabilities of the
            classes, as mixup or a teacher makes them. Labels are still taken.
            Defaults to `"labels"`: a row that is not one-hot is NaN.
        reduction: As in `keras.losses.Loss`. Defaults to
            `"sum_over_batch_size"`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.

    Call arguments:
        y_true: Integer labels of shape `(batch_size,)` or
            `(batch_size, 1)`, or one-hot labels, or soft targets, of shape
            `(batch_size, C)`.
        y_pred: Raw outputs, shape `(batch_size, C)`.

    Raises:
        ValueError: If `class_reduction` is or `targets` is unknown, or if the
            shapes do not fit each other.

    Example:

    >>> loss = nc_keras.losses.MSE(class_reduction="sum")
    >>> print(float(loss([1, 0], [[0.0, 0.0], [2.0, 0.0]])))
    1.0

    Reference:

    - [Han, Papyan & Donoho, 2022](https://arxiv.org/abs/2106.02073),
      equation 1.
    """

    def __init__(
        self,
        class_reduction: str = "mean",
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mse",
        dtype: Any = None,
        targets: str = "labels",
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.targets = validated_targets(targets, "soft")
        if class_reduction not in _CLASS_REDUCTIONS:
            raise ValueError(
                f"`class_reduction` must be one of {list(_CLASS_REDUCTIONS)}. "
                f"Received: class_reduction={class_reduction!r}."
            )
        self.class_reduction = class_reduction

    def compute(self, targets: Any, outputs: Any) -> Any:
        reduce = _CLASS_REDUCTIONS[self.class_reduction]
        return reduce(ops.square(outputs - targets), axis=-1)

    def get_config(self):
        config = super().get_config()
        config.update(
            class_reduction=self.class_reduction, targets=self.targets
        )
        return config
