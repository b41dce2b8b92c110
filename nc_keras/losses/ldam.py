from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from nc_keras.class_counts import checked_counts
from nc_keras.class_counts import require_counts_of
from nc_keras.losses.ce import CE


@keras.saving.register_keras_serializable(package="nc_keras")
class LDAM(CE):
    """Cross-entropy with larger margins for rarer classes.

    For one example with outputs `f` and class `y`, the cross-entropy of
    `scale (f_c - m_y [c = y])`, `m_c = max_margin (n_min / n_c)^(1/4)`. The
    outputs are cosines, of a head with unit rows and features of length 1.

    Example:

    >>> loss = nc_keras.losses.LDAM(counts=[16, 1], scale=1.0)
    >>> print(f"{float(loss([1], [[0.0, 0.5]])):.4f}")
    0.6931

    Args:
        counts: Sequence of `C` positive integers, the training examples per
            class.
        max_margin: Float, positive, the margin of the rarest class. Defaults
            to `0.5`.
        scale: Float, positive. Defaults to `30.0`.
        reduction: As in `keras.losses.Loss`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.

    Call arguments:
        y_true: Integer or one-hot labels, as in `CE`.
        y_pred: Cosines, shape `(batch_size, C)`.

    Raises:
        ValueError: If the counts are not positive integers, one per output,
            or another argument is not positive.

    Reference:

    - [Cao et al., 2019](https://arxiv.org/abs/1906.07413), and their
      code, where `max_margin` and `scale` have these defaults.
    """

    def __init__(
        self,
        counts: Sequence[int],
        max_margin: float = 0.5,
        scale: float = 30.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "ldam",
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        sizes = checked_counts(counts)
        if not (max_margin > 0 and scale > 0):
            raise ValueError(
                "`max_margin` and `scale` must be positive. "
                f"Received: max_margin={max_margin}, scale={scale}."
            )
        self.counts = sizes.tolist()
        self.max_margin = max_margin
        self.scale = scale
        self._margins = max_margin * (sizes.min() / sizes) ** 0.25

    def compute(self, targets: Any, outputs: Any) -> Any:
        require_counts_of(self, outputs)
        margins = ops.convert_to_tensor(self._margins, outputs.dtype)
        moved = self.scale * (outputs - margins * targets)
        return super().compute(targets, moved)

    def get_config(self):
        config = super().get_config()
        for name in ("label_smoothing", "targets"):
            del config[name]
        config.update(
            counts=self.counts, max_margin=self.max_margin, scale=self.scale
        )
        return config
