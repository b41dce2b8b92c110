from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="nc_keras")
class Standardization(keras.layers.Layer):
    """Subtracts a mean from each channel, and divides by its deviation.

    A model that begins with it takes images as they are stored. Unlike
    `keras.layers.Normalization` it has no weights, and needs TensorFlow on no
    other backend.

    Args:
        mean: Floats, the mean of each channel.
        deviation: Floats, the standard deviation of each channel.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Input shape:
        `(batch_size, ..., channels)`, of any numeric dtype.

    Output shape:
        That of the input.

    Raises:
        ValueError: If a deviation is not positive, or if there are not as many
            deviations as means.

    Example:

    >>> layer = nc_keras.layers.Standardization([100.0], [50.0])
    >>> keras.ops.convert_to_numpy(layer(np.array([[0], [200]], "uint8")))
    array([[-2.],
           [ 2.]], dtype=float32)
    """

    def __init__(
        self, mean: Sequence[float], deviation: Sequence[float], **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.mean = [float(value) for value in mean]
        self.deviation = [float(value) for value in deviation]
        if len(self.mean) != len(self.deviation) or not all(
            value > 0 for value in self.deviation
        ):
            raise ValueError(
                "Every channel needs a mean and a positive deviation; a "
                "channel that never changes has none. "
                f"Received: mean={self.mean}, deviation={self.deviation}."
            )

    def call(self, inputs):
        mean, deviation = (
            ops.convert_to_tensor(values, dtype=self.compute_dtype)
            for values in (self.mean, self.deviation)
        )
        return (ops.cast(inputs, self.compute_dtype) - mean) / deviation

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update(mean=self.mean, deviation=self.deviation)
        return config
