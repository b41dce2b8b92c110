from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="nc_keras")
class TLU(keras.layers.Layer):
    """A rectifier with a learned threshold: `max(x, tau)`.

    `tau` is zero at first, as in a ReLU, and belongs to a channel. After
    `FilterResponseNormalization`, which centres nothing, it takes what a
    normalised output is compared with.

    Example:

    >>> layer = nc_keras.layers.TLU()
    >>> print(keras.ops.convert_to_numpy(layer(np.array([[-1.0, 2.0]]))))
    [[0. 2.]]

    Args:
        shared_axes: Integers, the axes along which `tau` is the same, as in
            `keras.layers.PReLU`. Defaults to `None`, all but the last; `()`
            for a threshold of its own at each position.
        **kwargs: Base layer keyword arguments, such as `name`.

    Input shape:
        `(batch_size, ..., channels)`.

    Output shape:
        That of the input.

    Reference:

    - [Singh & Krishnan, 2020](https://arxiv.org/abs/1911.09737).
    """

    def __init__(self, shared_axes: Sequence[int] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.shared_axes = None if shared_axes is None else list(shared_axes)

    def build(self, input_shape):
        rank = len(input_shape)
        shared = self.shared_axes
        if shared is None:
            shared = range(1, rank - 1)
        axes = {axis % rank for axis in shared}
        shape = tuple(
            1 if axis in axes else input_shape[axis] for axis in range(1, rank)
        )
        if None in shape:
            raise ValueError(
                "A threshold for each position needs to know how many there "
                f"are. Received: an input of shape {tuple(input_shape)}, and "
                f"shared_axes={self.shared_axes}."
            )
        self.tau = self.add_weight(name="tau", shape=shape, initializer="zeros")

    def call(self, inputs):
        return ops.maximum(inputs, ops.cast(self.tau, inputs.dtype))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update(shared_axes=self.shared_axes)
        return config
