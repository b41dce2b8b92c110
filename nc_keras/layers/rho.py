from typing import Any

import keras
from keras import ops

from nc_keras.arguments import require_numbers


@keras.saving.register_keras_serializable(package="nc_keras")
class Rho(keras.layers.Layer):
    """One trainable factor of all outputs: the norm of a normalised network.

    `outputs = rho * inputs`. Behind layers whose weights have norm one it is
    the product of the norms of all layers, `rho` in `f_W = rho f_V`. With
    `decay` it adds `decay * rho^2` to the loss, the only penalty of the
    square loss of Xu et al.

    Args:
        initial_value: Float, positive, where `rho` starts. Defaults to `1.0`.
        decay: Float, not negative, `lambda` in `lambda rho^2`. Defaults to
            `0.0`.
        **kwargs: Base layer keyword arguments, such as `name`.

    Input shape:
        Any.

    Output shape:
        That of the input.

    Raises:
        ValueError: If `initial_value` is not positive, or `decay` is
            negative.

    Example:

    >>> layer = nc_keras.layers.Rho(3.0, decay=0.5)
    >>> print(keras.ops.convert_to_numpy(layer(np.ones((1, 2)))))
    [[3. 3.]]
    >>> print(keras.ops.convert_to_numpy(layer.losses[0]))
    4.5

    Reference:

    - [Xu et al., 2023](https://doi.org/10.34133/research.0024).
    """

    def __init__(
        self, initial_value: float = 1.0, decay: float = 0.0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        require_numbers(initial_value=initial_value, decay=decay)
        if not initial_value > 0 or not decay >= 0:
            raise ValueError(
                "`initial_value` must be positive, and `decay` not negative. "
                f"Received: initial_value={initial_value}, decay={decay}."
            )
        self.initial_value = initial_value
        self.decay = decay

    def build(self, input_shape=None):
        self.value = self.add_weight(
            name="rho",
            shape=(),
            initializer=keras.initializers.Constant(self.initial_value),
            regularizer=keras.regularizers.L2(self.decay)
            if self.decay
            else None,
            autocast=False,
        )

    def call(self, inputs):
        return ops.multiply(inputs, ops.cast(self.value, inputs.dtype))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update(initial_value=self.initial_value, decay=self.decay)
        return config
