from typing import Any

import keras
from keras import ops

from nc_keras.losses.output_loss import OutputLoss
from nc_keras.losses.output_loss import validated_targets


@keras.saving.register_keras_serializable(package="nc_keras")
class CE(OutputLoss):
    """Cross-entropy of raw network outputs.

    For one example with outputs `f` and class `y`,

    `loss = -sum_c t_c log softmax(f)_c`,
    `t_c = (1 - label_smoothing) [c = y] + label_smoothing / C`.

    With `targets="soft"` the probabilities of a row take the place of
    `[c = y]`. With `targets="multi_hot"` an example may have several labels,
    and its loss is the sum of those of each: the pick-all-labels loss, at
    whose minimum features of several labels are sums of those of one, see
    `nc_keras.multi_label`.

    An output of `-inf` excludes a class: its probability is 0, and the loss
    is the one of the other classes alone, of which there are `C` then.

    Args:
        label_smoothing: Float in `[0, 1)`, the share of the target that is
            spread evenly over all classes that are not excluded. Defaults to
            `0.0`.
        targets: `"labels"`; `"soft"` for rows with any probabilities of the
            classes, as mixup or a teacher makes them; or `"multi_hot"` for
            rows with any zeros and ones. Labels are still taken. Defaults to
            `"labels"`: a row that is not one-hot is NaN.
        reduction: As in `keras.losses.Loss`. Defaults to
            `"sum_over_batch_size"`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.

    Call arguments:
        y_true: Integer labels of shape `(batch_size,)` or
            `(batch_size, 1)`, or one-hot or multi-hot labels, or soft
            targets, of shape `(batch_size, C)`.
        y_pred: Raw outputs (logits, no softmax), shape `(batch_size, C)`.

    Raises:
        ValueError: If `label_smoothing` is outside `[0, 1)` or goes with
            multi-hot targets, `targets` is unknown, or the shapes do not fit
            each other.

    Example:

    >>> loss = nc_keras.losses.CE()
    >>> print(f"{float(loss([1, 0], [[0.0, 0.0], [2.0, 0.0]])):.4f}")
    0.4100

    Reference:

    - [Papyan, Han & Donoho, 2020](https://arxiv.org/abs/2008.08186), the loss
      of its experiments.
    - [Li et al., 2023](https://arxiv.org/abs/2310.15903), of several labels.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "ce",
        dtype: Any = None,
        targets: str = "labels",
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.targets = validated_targets(targets, "soft", "multi_hot")
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                "`label_smoothing` must be in [0, 1). "
                f"Received: label_smoothing={label_smoothing}."
            )
        if label_smoothing and targets == "multi_hot":
            raise ValueError(
                "Labels of which an example has several are not smoothed. "
                f"Received: {label_smoothing=}, {targets=}."
            )
        self.label_smoothing = label_smoothing

    def compute(self, targets: Any, outputs: Any) -> Any:
        if self.label_smoothing:
            targets = (1 - self.label_smoothing) * targets
            uniform = self.label_smoothing / outputs.shape[-1]
            targets = targets + uniform * _shares(outputs)
        log_p = ops.log_softmax(outputs)
        # Not 0 * -inf, which is NaN, of a class that is excluded.
        log_p = ops.where(targets == 0, 0.0, log_p)
        return -ops.sum(targets * log_p, axis=-1)

    def get_config(self):
        config = super().get_config()
        config.update(
            label_smoothing=self.label_smoothing, targets=self.targets
        )
        return config


def _shares(outputs):
    """1 a class; 0 if it is excluded, and more for those that are left."""
    possible = ops.cast(outputs != -float("inf"), outputs.dtype)
    left = ops.sum(possible, axis=-1, keepdims=True)
    return possible * (outputs.shape[-1] / left)
