from typing import Any

import keras
from keras import ops

from nc_keras.arguments import require_numbers


@keras.saving.register_keras_serializable(package="nc_keras")
class TangentDense(keras.layers.Layer):
    """A dense layer in the tangent parametrisation.

    `sigma_w / sqrt(D) W'h + sigma_b b`, with standard normal `W` and `b`: one
    learning rate serves every width, and networks of them go to
    `nc_keras.kernel.infinite` as they grow wider.

    Example:

    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((4,)),
    ...         nc_keras.layers.TangentDense(64, activation="relu"),
    ...         nc_keras.layers.TangentDense(3),
    ...     ]
    ... )
    >>> [tuple(w.shape) for w in model.weights]
    [(4, 64), (64, 3)]

    Args:
        units: Integer, the outputs.
        sigma_w: Float, positive. Defaults to `sqrt(2)`, which keeps the size
            of ReLU activations.
        sigma_b: Float, not negative; 0 is without `b`. Defaults to `0.0`.
        activation: As in `keras.layers.Dense`.
        **kwargs: Base layer keyword arguments, such as `name`.

    Input shape:
        `(..., D)`.

    Output shape:
        `(..., units)`.

    Raises:
        ValueError: If an argument is out of its range.

    Reference:

    - [Jacot et al., 2018](https://arxiv.org/abs/1806.07572), section 3.
    """

    def __init__(
        self,
        units: int,
        sigma_w: float = 2**0.5,
        sigma_b: float = 0.0,
        activation: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        require_numbers(units=units, sigma_w=sigma_w, sigma_b=sigma_b)
        if units < 1 or not sigma_w > 0 or not sigma_b >= 0:
            raise ValueError(
                "`units` and `sigma_w` must be positive, and `sigma_b` not "
                f"negative. Received: {units=}, {sigma_w=}, {sigma_b=}."
            )
        self.units = units
        self.sigma_w, self.sigma_b = sigma_w, sigma_b
        self.activation = keras.activations.get(activation)

    def build(self, input_shape):
        width = input_shape[-1]
        self.scale = self.sigma_w / width**0.5
        self.w = self.add_weight(
            name="w", shape=(width, self.units), initializer=_standard()
        )
        self.b = None
        if self.sigma_b:
            self.b = self.add_weight(
                name="b", shape=(self.units,), initializer=_standard()
            )

    def call(self, inputs):
        outputs = self.scale * ops.matmul(inputs, self.w)
        if self.b is not None:
            outputs = outputs + self.sigma_b * self.b
        return self.activation(outputs)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        config = super().get_config()
        config.update(
            units=self.units,
            sigma_w=self.sigma_w,
            sigma_b=self.sigma_b,
            activation=keras.activations.serialize(self.activation),
        )
        return config


def _standard():
    return keras.initializers.RandomNormal(stddev=1.0)
