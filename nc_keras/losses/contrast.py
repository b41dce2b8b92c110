"""Losses of cosines between examples and class vectors, over a batch."""

from typing import Any

import keras
from keras import ops

from nc_keras.losses.output_loss import OutputLoss


def positive_temperature(temperature: float) -> float:
    """Returns the temperature of a loss.

    Raises:
        ValueError: If it is not a positive, finite number.
    """
    number = not isinstance(temperature, bool) and isinstance(
        temperature, int | float
    )
    if not number or not 0 < temperature < float("inf"):
        raise ValueError(
            "`temperature` must be positive. "
            f"Received: temperature={temperature!r}."
        )
    return temperature


def refuse_weights(loss: keras.losses.Loss, sample_weight: Any) -> None:
    """Says that examples which are compared with each other have no weights.

    Raises:
        ValueError: If there are weights.
    """
    if sample_weight is not None:
        raise ValueError(
            f"`{type(loss).__name__}` compares the examples of a batch, and "
            "has no weights of examples or classes. Received: sample_weight."
        )


class OfCosines(OutputLoss):
    """Base class of losses of cosines, divided by a temperature.

    Args:
        temperature: Float, what cosines are divided by. Defaults to `0.1`.
        reduction: As in `keras.losses.Loss`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.
    """

    own_name = "of_cosines"
    compares_examples = True

    def __init__(
        self,
        temperature: float = 0.1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        name = name or self.own_name
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.temperature = positive_temperature(temperature)

    def __call__(self, y_true, y_pred, sample_weight=None):
        if self.compares_examples:
            refuse_weights(self, sample_weight)
        return super().__call__(y_true, y_pred, sample_weight)

    def get_config(self):
        config = super().get_config()
        config.update(temperature=self.temperature)
        return config


@keras.saving.register_keras_serializable(package="nc_keras")
class NormFace(OfCosines):
    """Cross-entropy of cosines over a temperature.

    `loss = -log softmax(s)_y`, with `s = cos(h, w_c) / temperature`: each
    example chooses among the classes.

    Example:

    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((4,)),
    ...         keras.layers.Dense(8),
    ...         nc_keras.layers.UnitNormalization(),
    ...         nc_keras.layers.CosineClassifier(3),
    ...     ]
    ... )
    >>> model.compile("sgd", loss=nc_keras.losses.NormFace())

    Args:
        temperature: Float, what cosines are divided by. Defaults to `0.1`.
        reduction: As in `keras.losses.Loss`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.

    Call arguments:
        y_true: Integer or one-hot labels, as in `CE`.
        y_pred: Cosines, shape `(batch_size, C)`.

    Raises:
        ValueError: If `temperature` is not positive, or the shapes do not fit.

    Reference:

    - [Wang et al., 2017](https://arxiv.org/abs/1704.06369).
    - [Koromilas et al., 2026](https://arxiv.org/abs/2605.20302), beside NTCE
      and NONL.
    """

    own_name = "norm_face"
    compares_examples = False

    def compute(self, targets: Any, outputs: Any) -> Any:
        scores = outputs / self.temperature
        own = ops.sum(targets * scores, axis=-1)
        return ops.logsumexp(scores, axis=-1) - own


@keras.saving.register_keras_serializable(package="nc_keras")
class NTCE(OfCosines):
    """Cross-entropy over the batch: each class vector chooses its examples.

    `loss_i = log sum_m exp s_m - s_i`, with `s_m = cos(h_m, w_y) /
    temperature` over all examples `m` of the batch, for `y` the class of
    example `i`. Used as `NormFace`.

    Example:

    >>> loss = nc_keras.losses.NTCE(temperature=1.0)
    >>> print(f"{float(loss([0, 1], [[1.0, 0.0], [0.0, 1.0]])):.4f}")
    0.3133

    Args:
        temperature: Float, what cosines are divided by. Defaults to `0.1`.
        reduction: As in `keras.losses.Loss`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.

    Call arguments:
        y_true: Integer or one-hot labels, as in `CE`.
        y_pred: Cosines, shape `(batch_size, C)`.

    Raises:
        ValueError: If `temperature` is not positive, the shapes do not fit, or
            examples have weights.

    Reference:

    - [Koromilas et al., 2026](https://arxiv.org/abs/2605.20302).
    """

    own_name = "ntce"

    def compute(self, targets: Any, outputs: Any) -> Any:
        scores = outputs / self.temperature
        totals = ops.logsumexp(scores, axis=0)
        return ops.sum(targets * (totals - scores), axis=-1)


@keras.saving.register_keras_serializable(package="nc_keras")
class NONL(OfCosines):
    """As `NTCE`, but an example competes with those of other classes only.

    `loss_i = log sum over m with y_m != y_i of exp s_m - s_i`: without its own
    class in the sum, an example that is right is pulled on. Where a batch
    has no other class there is no sum, and the loss is `-s_i`.

    Example:

    >>> loss = nc_keras.losses.NONL(temperature=1.0)
    >>> print(float(loss([0, 1], [[1.0, 0.0], [0.0, 1.0]])))
    -1.0

    Args:
        temperature: Float, what cosines are divided by. Defaults to `0.1`.
        reduction: As in `keras.losses.Loss`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.

    Call arguments:
        y_true: Integer or one-hot labels, as in `CE`.
        y_pred: Cosines, shape `(batch_size, C)`.

    Raises:
        ValueError: If `temperature` is not positive, the shapes do not fit, or
            examples have weights.

    Reference:

    - [Koromilas et al., 2026](https://arxiv.org/abs/2605.20302).
    """

    own_name = "nonl"

    def compute(self, targets: Any, outputs: Any) -> Any:
        scores = outputs / self.temperature
        others = targets == 0
        # Far below any score, yet finite: its gradient is 0 and not NaN.
        hidden = ops.where(others, scores, -1e9)
        totals = ops.logsumexp(hidden, axis=0)
        totals = ops.where(ops.any(others, axis=0), totals, 0.0)
        return ops.sum(targets * (totals - scores), axis=-1)
