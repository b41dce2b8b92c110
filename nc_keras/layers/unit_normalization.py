from typing import Any

import keras
from keras import ops

from nc_keras.layers.lengths import lengths


@keras.saving.register_keras_serializable(package="nc_keras")
class UnitNormalization(keras.layers.Layer):
    """Divides each feature vector by its length.

    As `keras.layers.UnitNormalization`, but a vector of zeros has a gradient:
    Keras' is NaN there on JAX, and one dead feature ends the training.

    Example:

    >>> layer = nc_keras.layers.UnitNormalization()
    >>> print(keras.ops.convert_to_numpy(layer(np.array([[3.0, 4.0]]))))
    [[0.6 0.8]]

    Args:
        **kwargs: Base layer keyword arguments, such as `name`.

    Input shape:
        `(..., D)`.

    Output shape:
        That of the input.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return ops.divide(inputs, lengths(inputs, axis=-1, keepdims=True))

    def compute_output_shape(self, input_shape):
        return input_shape
