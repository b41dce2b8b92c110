import functools
import importlib
import itertools
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="nc_keras")
class MaxPooling2D(keras.layers.MaxPooling2D):
    """Max-pooling that is fast on JAX and torch, too.

    On JAX, where windows do not overlap, it compares their values one by one:
    XLA's own gradient of pooling takes several times as long on a CPU. On
    torch it leaves the images as they lie in memory, where Keras copies them.
    Of equal values in a window, one gets the gradient.

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
        backend = keras.backend.backend()
        if backend == "torch" and self._is_unpadded:
            return self._call_torch(inputs)
        if backend != "jax" or not self._is_plain:
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

    def _call_torch(self, inputs):
        """PyTorch's, of the images as they lie: Keras copies them first."""
        images = ops.transpose(inputs, (0, 3, 1, 2))
        pool = importlib.import_module("torch").max_pool2d
        outputs = pool(images, self.pool_size, self.strides)
        return ops.transpose(outputs, (0, 2, 3, 1))

    @property
    def _is_unpadded(self):
        is_last = self.data_format == "channels_last"
        return is_last and self.padding == "valid"

    @property
    def _is_plain(self):
        """Whether windows do not overlap, and nothing is padded."""
        is_tiling = tuple(self.strides) == tuple(self.pool_size)
        return is_tiling and self._is_unpadded


def _larger(a, b):
    # Not `maximum`: its gradient asks which number equals the largest, and
    # none does where XLA computes them again and rounds in another way.
    return ops.where(ops.logical_or(a >= b, ops.isnan(a)), a, b)
