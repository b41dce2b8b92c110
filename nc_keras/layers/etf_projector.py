import math
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="nc_keras")
class ETFProjector(keras.layers.Layer):
    """Two fixed layers before a head, which let its features collapse.

    `relu(h A) B`, with the rectangular `A` and `B` both
    `sqrt(c / (c - 1)) (I - 11'/c)`, where `c` is `units`, without biases.
    Nothing is learned here: what is before can stay general, with
    `FeatureEntropy`, and what is after collapses. The authors normalise the
    result, as `UnitNormalization` does, before the head.

    Example:

    >>> layer = nc_keras.layers.ETFProjector(16, hidden=32)
    >>> tuple(layer(np.ones((2, 8))).shape), len(layer.weights)
    ((2, 16), 0)

    Args:
        units: Integer, the dimension of the result, at least 2. Defaults to
            `512`.
        hidden: Integer, the dimension between. Defaults to `4 * units`.
        **kwargs: Base layer keyword arguments, such as `name`.

    Input shape:
        `(batch_size, ..., D)`.

    Output shape:
        `(batch_size, ..., units)`.

    Raises:
        ValueError: If `units` is not an integer of 2 or more, or `hidden` not
            a positive one.

    Reference:

    - [Harun, Gallardo & Kanan, 2025](https://arxiv.org/abs/2502.10691), as in
      their code.
    """

    def __init__(
        self, units: int = 512, hidden: int | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        hidden = 4 * units if hidden is None else hidden
        for name, value, least in (("units", units, 2), ("hidden", hidden, 1)):
            if not isinstance(value, int) or not value >= least:
                raise ValueError(
                    f"`{name}` must be an integer of {least} or more. "
                    f"Received: {name}={value!r}."
                )
        self.units, self.hidden = units, hidden

    def build(self, input_shape):
        self._kernels = [
            self._frame(input_shape[-1], self.hidden),
            self._frame(self.hidden, self.units),
        ]
        self.input_spec = keras.layers.InputSpec(
            min_ndim=2, axes={-1: input_shape[-1]}
        )

    def _frame(self, rows, columns):
        factor = math.sqrt(self.units / (self.units - 1))
        frame = factor * (np.eye(rows, columns) - 1 / self.units)
        return frame.astype("float32")

    def call(self, inputs):
        first, second = (
            ops.cast(kernel, self.compute_dtype) for kernel in self._kernels
        )
        return ops.matmul(ops.relu(ops.matmul(inputs, first)), second)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        config = super().get_config()
        config.update(units=self.units, hidden=self.hidden)
        return config
