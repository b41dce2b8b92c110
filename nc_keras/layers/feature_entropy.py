from typing import Any

import keras
from keras import ops

from nc_keras.arguments import require_numbers
from nc_keras.layers.lengths import lengths

_LEAST = 1e-8


@keras.saving.register_keras_serializable(package="nc_keras")
class FeatureEntropy(keras.layers.Layer):
    """Passes features on, and adds a loss that spreads them.

    With `u = h / |h|`, the loss is `-weight` times the mean over the batch of
    `log(|u_i - u_j| + 1e-8)`, `j` the nearest other example: an estimate of
    the entropy of the directions. Features that collapse have none left, so
    that this works against NC1.

    Example:

    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((4,)),
    ...         keras.layers.Dense(8),
    ...         nc_keras.layers.FeatureEntropy(0.1),
    ...         keras.layers.Dense(3),
    ...     ]
    ... )
    >>> model.compile("sgd", loss=nc_keras.losses.CE())

    Args:
        weight: Float, not negative, of the loss. The authors have 0.1 for
            convolutional networks, and 0.05 for transformers. Defaults to
            `0.1`.
        **kwargs: Base layer keyword arguments, such as `name`.

    Input shape:
        `(batch_size, D)`.

    Output shape:
        That of the input.

    Raises:
        ValueError: If `weight` is negative.

    Reference:

    - [Harun, Gallardo & Kanan, 2025](https://arxiv.org/abs/2502.10691), as in
      their code.
    """

    def __init__(self, weight: float = 0.1, **kwargs: Any):
        super().__init__(**kwargs)
        require_numbers(weight=weight)
        if weight < 0:
            raise ValueError(
                f"`weight` must not be negative. Received: weight={weight}."
            )
        self.weight = weight
        self.input_spec = keras.layers.InputSpec(ndim=2)

    def call(self, inputs, training=False):
        if training:
            self.add_loss(self.weight * self.loss(inputs))
        return inputs

    def loss(self, features: Any) -> Any:
        """Returns `-mean log(|u_i - u_j| + 1e-8)`, a scalar.

        Args:
            features: Tensor of shape `(batch_size, D)`.
        """
        x = ops.cast(features, "float32")
        units = x / lengths(x, axis=-1, keepdims=True)
        cosines = ops.matmul(units, ops.transpose(units))
        numbers = ops.arange(ops.shape(units)[0])
        itself = numbers[:, None] == numbers
        nearest = ops.argmax(ops.where(itself, -2.0, cosines), axis=1)
        apart = units - ops.take(units, nearest, axis=0)
        squares = ops.sum(ops.square(apart), axis=-1)
        # The root of 0 has no gradient.
        is_apart = squares > 0
        roots = ops.sqrt(ops.where(is_apart, squares, 1.0))
        distances = ops.where(is_apart, roots, 0.0)
        return -ops.mean(ops.log(distances + _LEAST))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update(weight=self.weight)
        return config
