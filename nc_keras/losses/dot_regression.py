from typing import Any

import keras
from keras import ops

from nc_keras.losses.output_loss import OutputLoss


@keras.saving.register_keras_serializable(package="nc_keras")
class DotRegression(OutputLoss):
    """Pulls each feature to the classifier of its class, and pushes none.

    For one example with outputs `f` and class `y`, `loss = (f_y - 1)^2 / 2`.
    With a fixed simplex ETF of unit rows and features of length 1 the output
    is a cosine, and its minimiser collapses however unequal the classes are.

    Example:

    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((4,)),
    ...         keras.layers.Dense(8),
    ...         nc_keras.layers.UnitNormalization(),
    ...         nc_keras.layers.ETFClassifier(3),
    ...     ]
    ... )
    >>> model.compile("sgd", loss=nc_keras.losses.DotRegression())

    Args:
        balanced: Boolean, whether each example weighs `B / (b n)` in a batch
            of `B` with `n` of its class, and `b` classes: all classes of a
            batch count the same. Defaults to `False`.
        reduction: As in `keras.losses.Loss`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.

    Call arguments:
        y_true: Integer or one-hot labels, as in `CE`.
        y_pred: Cosines, shape `(batch_size, C)`.

    Raises:
        ValueError: If the shapes do not fit each other.

    Reference:

    - [Yang et al., 2022](https://arxiv.org/abs/2203.09081);
      `balanced` is what their code does by default.
    """

    def __init__(
        self,
        balanced: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "dot_regression",
        dtype: Any = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.balanced = balanced

    def compute(self, targets: Any, outputs: Any) -> Any:
        own = ops.sum(targets * outputs, axis=-1)
        # A row of targets that is NaN makes the loss NaN through `own`.
        losses = ops.square(own - 1) / 2
        return losses * _weights(targets) if self.balanced else losses

    def get_config(self):
        config = super().get_config()
        config.update(balanced=self.balanced)
        return config


def _weights(targets):
    """Of each example of a batch, 1 in the mean."""
    axes = tuple(range(len(targets.shape) - 1))
    counts = ops.sum(targets, axis=axes)
    present = ops.sum(ops.cast(counts > 0, targets.dtype))
    return ops.sum(counts) / (present * ops.sum(targets * counts, axis=-1))
