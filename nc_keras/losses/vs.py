from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.class_counts import checked_counts
from nc_keras.class_counts import require_counts_of
from nc_keras.losses.ce import CE


@keras.saving.register_keras_serializable(package="nc_keras")
class VS(CE):
    """Cross-entropy with outputs scaled and shifted by the size of a class.

    For one example with outputs `f` and class `y`, the cross-entropy of

    `f_c / (n_max / n_c)^gamma + tau log(n_c / N)`.

    The shift lets rare classes win when it is left out, as it is where one
    predicts from the outputs; the scale makes their margins larger. With
    `tau=0` it is CDT, with `gamma=0` `LogitAdjusted`.

    Example:

    >>> loss = nc_keras.losses.VS(counts=[900, 100])
    >>> print(f"{float(loss([1], [[0.0, 0.0]])):.4f}")
    2.3026

    Args:
        counts: Sequence of `C` positive integers, the training examples per
            class.
        gamma: Float, not negative. Defaults to `0.3`.
        tau: Float, not negative. Defaults to `1.0`.
        label_smoothing: As in `CE`.
        targets: As in `CE`.
        reduction: As in `keras.losses.Loss`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.

    Call arguments:
        y_true: As in `CE`.
        y_pred: Raw outputs, shape `(batch_size, C)`.

    Raises:
        ValueError: If the counts are not positive integers, one per output,
            or another argument is out of its range.

    The loss of a balanced validation set is adjusted too: judge by accuracy.

    Reference:

    - [Kini et al., 2021](https://arxiv.org/abs/2103.01550), and
      their code, where `gamma` and `tau` have these defaults.
    - [Ye et al., 2020](https://arxiv.org/abs/2001.01385), CDT.
    """

    def __init__(
        self,
        counts: Sequence[int],
        gamma: float = 0.3,
        tau: float = 1.0,
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "vs",
        dtype: Any = None,
        targets: str = "labels",
    ):
        super().__init__(label_smoothing, reduction, name, dtype, targets)
        sizes = checked_counts(counts)
        if not (gamma >= 0 and tau >= 0):
            raise ValueError(
                "`gamma` and `tau` must not be negative. "
                f"Received: gamma={gamma}, tau={tau}."
            )
        self.counts = sizes.tolist()
        self.gamma = gamma
        self.tau = tau
        self._scales = (sizes / sizes.max()) ** gamma
        self._shifts = tau * np.log(sizes / sizes.sum())

    def compute(self, targets: Any, outputs: Any) -> Any:
        require_counts_of(self, outputs)
        scales = ops.convert_to_tensor(self._scales, outputs.dtype)
        shifts = ops.convert_to_tensor(self._shifts, outputs.dtype)
        return super().compute(targets, outputs * scales + shifts)

    def get_config(self):
        config = super().get_config()
        config.update(counts=self.counts, gamma=self.gamma, tau=self.tau)
        return config


@keras.saving.register_keras_serializable(package="nc_keras")
class LogitAdjusted(VS):
    """Cross-entropy with outputs shifted by the logarithm of class sizes.

    For one example with outputs `f` and class `y`, the cross-entropy of
    `f_c + tau log(n_c / N)`; with `tau=1` the balanced softmax. Predict from
    the outputs as they are.

    Example:

    >>> loss = nc_keras.losses.LogitAdjusted(counts=[900, 100])
    >>> print(f"{float(loss([0], [[0.0, 0.0]])):.4f}")
    0.1054

    Args:
        counts: As in `VS`.
        tau: Float, not negative. Defaults to `1.0`.
        label_smoothing: As in `CE`.
        targets: As in `CE`.
        reduction: As in `keras.losses.Loss`.
        name: Optional name of the loss.
        dtype: As in `keras.losses.Loss`.

    Call arguments:
        y_true: As in `CE`.
        y_pred: Raw outputs, shape `(batch_size, C)`.

    Raises:
        ValueError: As in `VS`.

    Reference:

    - [Menon et al., 2021](https://arxiv.org/abs/2007.07314).
    - [Ren et al., 2020](https://arxiv.org/abs/2007.10740), the balanced
      softmax.
    """

    def __init__(
        self,
        counts: Sequence[int],
        tau: float = 1.0,
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "logit_adjusted",
        dtype: Any = None,
        targets: str = "labels",
    ):
        super().__init__(
            counts, 0.0, tau, label_smoothing, reduction, name, dtype, targets
        )

    def get_config(self):
        config = super().get_config()
        del config["gamma"]
        return config
