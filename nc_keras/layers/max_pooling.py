import functools
import itertools
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="nc_keras")
class MaxPooling2D(keras.layers.MaxPooling2D):
    """Max-pooling, whose gradient is fast on JAX, too.

    Where windows do not overlap it compares their values one by one there:
    XLA's own gradient of pooling takes several times as long on a CPU. Of
    equal values in a window, one gets the gradient.

    Args:
        pool_size: Integer or tuple of two integers. Defaults to `(2, 2)`.
        **kwargs: Arguments of `keras.layers.MaxPooling2D`.

    Input shape:
        `(batch_size, height, width, channels)`, or as `data_format` says.

    Output shape:
        That of `keras.layers.MaxPooling2D`.

    Example:

    >>> layer = nc_keras.layers.MaxPooling2D()
    >>> x = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> keras.ops.convert_to_numpy(layer(x))[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """

    def __init__(self, pool_size: Any = (2, 2), **kwargs: Any):
        super().__init__(pool_size, **kwargs)

    def call(self, inputs):
        if keras.backend.backend() != "jax" or not self._is_plain:
            return super().call(inputs)
        (rows, columns), channels = self.pool_size, inputs.shape[3]
        high, wide = inputs.shape[1] // rows, inputs.shape[2] // columns
        windows = ops.reshape(
            inputs[:, : high * rows, : wide * columns],
            (-1, high, rows, wide, columns, channels),
        )
        places = itertools.product(range(rows), range(columns))
        return functools.reduce(
            _larger, (windows[:, :, i, :, j] for i, j in places)
        )

    @property
    def _is_plain(self):
        """Whether windows do not overlap, and nothing is padded."""
        return (
            tuple(self.strides) == tuple(self.pool_size)
            and self.padding == "valid"
            and self.data_format == "channels_last"
        )


def _larger(a, b):
    # Not `maximum`: its gradient asks which number equals the largest, and
    # none does where XLA computes them again and rounds in another way.
    return ops.where(ops.logical_or(a >= b, ops.isnan(a)), a, b)
