from typing import Any

import keras
from keras import ops

from nc_keras.losses.output_loss import OutputLoss


@keras.saving.register_keras_serializable(package="nc_keras")
class RescaledSquare(OutputLoss):
    """Square loss with a weight and a target for the true class.

    For one example with outputs `f` and class `y`,

    `loss = (1/C) [k (f_y - M)^2 + sum_{c != y} f_c^2]`.

    `k = M = 1` is `MSE()`. With many classes the true one weighs too little
    there.

    Args:
        k: Float, the weight of the true class, positive. Defaults to `1.0`.
        M: Float, the target of the true class, positive. Defaults to `1.0`.
        reduction: As in `keras.losses.Loss`. Defaults to
            `"sum_over_batch_size"`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.

    Call arguments:
        y_true: Integer labels of shape `(batch_size,)` or
            `(batch_size, 1)`, or one-hot labels of shape `(batch_size, C)`.
        y_pred: Raw outputs, shape `(batch_size, C)`.

    Raises:
        ValueError: If `k` or `M` is not positive, or if the shapes do not
            fit each other.

    Example:

    >>> loss = nc_keras.losses.RescaledSquare(k=2, M=3)
    >>> print(float(loss([1], [[1.0, 1.0]])))
    4.5

    Reference:

    - [Hui & Belkin, 2021](https://arxiv.org/abs/2006.07322), the rescaled
      square loss.
    """

    def __init__(
        self,
        k: float = 1.0,
        M: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "rescaled_square",
        dtype: Any = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if not (k > 0 and M > 0):
            raise ValueError(
                f"`k` and `M` must be positive. Received: k={k}, M={M}."
            )
        self.k = k
        self.M = M

    def compute(self, targets: Any, outputs: Any) -> Any:
        weights = 1 + (self.k - 1) * targets
        errors = ops.square(outputs - self.M * targets)
        return ops.mean(weights * errors, axis=-1)

    def get_config(self):
        config = super().get_config()
        config.update(k=self.k, M=self.M)
        return config
