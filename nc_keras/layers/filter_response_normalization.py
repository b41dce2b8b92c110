from typing import Any

import keras
from keras import ops

from nc_keras.arguments import require_numbers


@keras.saving.register_keras_serializable(package="nc_keras")
class FilterResponseNormalization(keras.layers.Layer):
    """Divides each channel of each example by its root mean square.

    `gamma x / sqrt(nu² + epsilon) + beta`, where `nu²` is the mean of `x²`
    over the positions of one channel of one example. An output depends on no
    other example of the batch, and training and inference are the same: there
    are no running statistics. A `TLU` follows it in place of a ReLU.

    Example:

    >>> layer = nc_keras.layers.FilterResponseNormalization()
    >>> outputs = layer(np.full((1, 2, 2, 1), 5.0))
    >>> print(keras.ops.convert_to_numpy(outputs).round(4).ravel())
    [1. 1. 1. 1.]

    Args:
        epsilon: Float, positive. Defaults to `1e-6`.
        learned_epsilon: Boolean, whether the absolute value of a trainable
            number, 1e-4 at first, is added to `epsilon`: for maps with a
            single position, of which little else than the sign would be left.
            Defaults to `False`.
        **kwargs: Base layer keyword arguments, such as `name`.

    Input shape:
        `(batch_size, ..., channels)` with one axis of positions or more.

    Output shape:
        That of the input.

    Raises:
        ValueError: If `epsilon` is not positive, or the input has no
            positions.

    Reference:

    - [Singh & Krishnan, 2020](https://arxiv.org/abs/1911.09737).
    """

    def __init__(
        self,
        epsilon: float = 1e-6,
        learned_epsilon: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        require_numbers(epsilon=epsilon)
        if not epsilon > 0:
            raise ValueError(
                f"`epsilon` must be positive. Received: epsilon={epsilon}."
            )
        self.epsilon = epsilon
        self.learned_epsilon = learned_epsilon

    def build(self, input_shape):
        if len(input_shape) < 3:
            raise ValueError(
                "Filter responses are normalised over their positions, such "
                "as those of an image. Received: an input of shape "
                f"{tuple(input_shape)}."
            )
        channels = input_shape[-1]
        self.gamma = self.add_weight(
            name="gamma", shape=(channels,), initializer="ones"
        )
        self.beta = self.add_weight(
            name="beta", shape=(channels,), initializer="zeros"
        )
        self.added = None
        if self.learned_epsilon:
            self.added = self.add_weight(
                name="epsilon",
                shape=(),
                initializer=keras.initializers.Constant(1e-4),
            )
        self.input_spec = keras.layers.InputSpec(
            min_ndim=3, axes={-1: channels}
        )

    def call(self, inputs):
        # Squares of half precision lose what `epsilon` is of.
        x = ops.cast(inputs, "float32")
        if keras.backend.standardize_dtype(inputs.dtype) == "float64":
            x = inputs
        positions = tuple(range(1, len(inputs.shape) - 1))
        squares = ops.mean(ops.square(x), axis=positions, keepdims=True)
        epsilon = self.epsilon
        if self.added is not None:
            epsilon = epsilon + ops.abs(ops.cast(self.added, x.dtype))
        gamma, beta = (ops.cast(w, x.dtype) for w in (self.gamma, self.beta))
        outputs = gamma * (x * ops.rsqrt(squares + epsilon)) + beta
        return ops.cast(outputs, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update(
            epsilon=self.epsilon, learned_epsilon=self.learned_epsilon
        )
        return config
