from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import real_array


@keras.saving.register_keras_serializable(package="nc_keras")
class CumulativeLink(keras.layers.Layer):
    """A head for classes in an order: one direction, cut by thresholds.

    With `z = w'h` and thresholds `b_1 < ... < b_(C-1)`, which are fixed,

    `P(y <= q) = 1 / (1 + exp(z - b_q))`.

    The outputs are the logarithms of the classes' probabilities, so that
    `nc_keras.losses.CE()` is the likelihood of this model. Features collapse
    to the line of `w`, in the order of the classes; see `nc_keras.ordinal`.

    Example:

    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((4,)),
    ...         keras.layers.Dense(8),
    ...         nc_keras.layers.CumulativeLink(5),
    ...     ]
    ... )
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> model.layers[-1].thresholds.tolist()
    [-3.0, -1.0, 1.0, 3.0]

    Args:
        num_classes: Integer, two or more.
        thresholds: `C - 1` increasing floats. Defaults to a distance of 2,
            symmetric to 0.
        **kwargs: Base layer keyword arguments, such as `name`.

    Attributes:
        kernel: The variable `w`, shape `(D, 1)`.
        thresholds: Array of shape `(C - 1,)`.

    Input shape:
        `(batch_size, D)`.

    Output shape:
        `(batch_size, C)`.

    Raises:
        ValueError: If the thresholds do not increase, or are not `C - 1`.

    Reference:

    - [Ma, Obuchi & Tanaka, 2025](https://arxiv.org/abs/2506.05801).
    """

    def __init__(self, num_classes: int, thresholds: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        if thresholds is None:
            thresholds = 2.0 * np.arange(1, num_classes) - num_classes
        self.num_classes = num_classes
        self.thresholds = increasing(thresholds)
        if len(self.thresholds) != num_classes - 1:
            raise ValueError(
                "`thresholds` must be one less than the classes. Received: "
                f"{num_classes=}, {len(self.thresholds)} thresholds."
            )
        self.input_spec = keras.layers.InputSpec(ndim=2)

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], 1),
            initializer="glorot_uniform",
        )

    def call(self, inputs):
        z = ops.matmul(inputs, self.kernel)
        upper = ops.cast(self.thresholds, z.dtype) - z
        below = ops.log_sigmoid(upper)
        above = ops.log_sigmoid(-upper)
        # s(u) - s(l) = s(u) s(-l) (1 - exp(l - u)), without cancellation.
        gaps = ops.cast(np.log(-np.expm1(-np.diff(self.thresholds))), z.dtype)
        inner = below[:, 1:] + above[:, :-1] + gaps
        return ops.concatenate([below[:, :1], inner, above[:, -1:]], axis=1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.num_classes)

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes, thresholds=self.thresholds.tolist()
        )
        return config


def increasing(thresholds: Any) -> np.ndarray:
    """Returns thresholds as an array, or says why they are none."""
    array = real_array(thresholds, "`thresholds`").astype("float64")
    is_vector = array.ndim == 1 and len(array) > 0
    if (
        not is_vector
        or not np.isfinite(array).all()
        or np.any(np.diff(array) <= 0)
    ):
        raise ValueError(
            "`thresholds` must be one or more increasing numbers. "
            f"Received: thresholds={thresholds}."
        )
    return array
