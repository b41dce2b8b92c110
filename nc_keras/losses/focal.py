from typing import Any

import keras
from keras import ops

from nc_keras.losses.output_loss import OutputLoss


@keras.saving.register_keras_serializable(package="nc_keras")
class Focal(OutputLoss):
    """Cross-entropy that counts less where the class is already likely.

    For one example with outputs `f` and class `y`,

    `loss = -(1 - p)^gamma log p`, `p = softmax(f)_y`.

    Example:

    >>> loss = nc_keras.losses.Focal(gamma=2.0)
    >>> print(f"{float(loss([1], [[0.0, 0.0]])):.4f}")
    0.1733

    Args:
        gamma: Float, not negative; 0 for cross-entropy. Defaults to `2.0`.
        reduction: As in `keras.losses.Loss`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.

    Call arguments:
        y_true: Integer or one-hot labels, as in `CE`.
        y_pred: Raw outputs, shape `(batch_size, C)`.

    Raises:
        ValueError: If `gamma` is negative.

    Reference:

    - [Lin et al., 2017](https://arxiv.org/abs/1708.02002);
      `nc_keras.theory.unconstrained_features.focal` has its minimiser.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "focal",
        dtype: Any = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if not gamma >= 0:
            raise ValueError(
                f"`gamma` must not be negative. Received: gamma={gamma}."
            )
        self.gamma = gamma

    def compute(self, targets: Any, outputs: Any) -> Any:
        log_p = ops.log_softmax(outputs)
        # Not 0 * -inf, which is NaN, of a class that is excluded.
        log_p = ops.sum(ops.where(targets == 0, 0.0, log_p * targets), axis=-1)
        # (1 - p)^gamma by its logarithm, whose slope at p = 1 is finite.
        wrong = ops.maximum(-ops.expm1(log_p), keras.config.epsilon() ** 2)
        return -ops.exp(self.gamma * ops.log(wrong)) * log_p

    def get_config(self):
        config = super().get_config()
        config.update(gamma=self.gamma)
        return config
