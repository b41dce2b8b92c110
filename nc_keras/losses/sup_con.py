from typing import Any

import keras
from keras import ops

from nc_keras.layers.lengths import lengths
from nc_keras.losses.contrast import positive_temperature
from nc_keras.losses.contrast import refuse_weights


@keras.saving.register_keras_serializable(package="nc_keras")
class SupCon(keras.losses.Loss):
    """Supervised contrastive loss of features: no head is needed.

    With `s = cos(h_i, h_a) / temperature` over the other examples `a` of a
    batch, the loss of example `i` is the mean over those `p` of its class of
    `log sum_a exp s_a - s_p`. An example without another one of its class
    does not count. What is learned are features; `nc_keras.few_shot.prototypes`
    makes class vectors of them.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8)])
    >>> model.compile("sgd", loss=nc_keras.losses.SupCon())
    >>> history = model.fit(np.eye(4), np.arange(4) // 2, verbose=0)

    Args:
        temperature: Float, what cosines are divided by. Defaults to `0.1`.
        reduction: As in `keras.losses.Loss`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.

    Call arguments:
        y_true: Integer labels of shape `(batch_size,)` or `(batch_size, 1)`.
        y_pred: Features of any length, shape `(batch_size, D)`.

    Raises:
        ValueError: If `temperature` is not positive, labels are not integers
            of these shapes, or examples have weights.

    Reference:

    - [Khosla et al., 2020](https://arxiv.org/abs/2004.11362), with the mean
      outside the logarithm.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "sup_con",
        dtype: Any = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.temperature = positive_temperature(temperature)

    def __call__(self, y_true, y_pred, sample_weight=None):
        refuse_weights(self, sample_weight)
        return super().__call__(y_true, y_pred)

    def call(self, y_true, y_pred):
        y_true, y_pred = map(ops.convert_to_tensor, (y_true, y_pred))
        rank = len(y_true.shape)
        is_column = rank == 2 and y_true.shape[-1] == 1
        if len(y_pred.shape) != 2 or not (rank == 1 or is_column):
            raise ValueError(
                "`SupCon` takes integer labels of shape (batch_size,) and "
                "features of shape (batch_size, D). Received: labels of shape "
                f"{tuple(y_true.shape)}, features of {tuple(y_pred.shape)}."
            )
        labels = ops.reshape(y_true, (-1,))
        units = y_pred / lengths(y_pred, axis=-1, keepdims=True)
        scores = ops.matmul(units, ops.transpose(units)) / self.temperature
        size = ops.shape(scores)[0]
        numbers = ops.arange(size)
        itself = numbers[:, None] == numbers
        scores = ops.where(itself, -1e9, scores)
        positive = (labels[:, None] == labels) & ops.logical_not(itself)
        positive = ops.cast(positive, scores.dtype)
        counts = ops.sum(positive, axis=1)
        totals = ops.logsumexp(scores, axis=1)
        pulled = ops.sum(positive * scores, axis=1) / ops.maximum(counts, 1)
        counted = ops.cast(counts > 0, scores.dtype)
        share = ops.mean(counted)
        # So that a mean over the batch is one over those that count.
        weights = counted / ops.where(share > 0, share, 1.0)
        return weights * (totals - pulled)

    def get_config(self):
        config = super().get_config()
        config.update(temperature=self.temperature)
        return config
