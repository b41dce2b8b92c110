import operator
from typing import Any

import keras
from keras import ops

from nc_keras.layers.lengths import lengths


@keras.saving.register_keras_serializable(package="nc_keras")
class WeightNormDense(keras.layers.Layer):
    r"""A dense layer whose weight vectors have a length and a direction.

    Computes `x W + b` with column `W_c = g_c v_c / ||v_c||`, one column per
    output. `g` starts as `||v||`, so that the layer begins as the `Dense`
    layer with kernel `v`. The gradient of any loss with respect to `v_c` is
    orthogonal to `v_c`.

    Args:
        units: Integer, the number of outputs.
        activation: Activation function. Defaults to `None`, the identity.
        use_bias: Boolean, whether to add a bias. Defaults to `True`.
        kernel_initializer: Initializer of the directions `v`.
        bias_initializer: Initializer of the bias.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Input shape:
        `(batch_size, ..., D)`.

    Output shape:
        `(batch_size, ..., units)`.

    Raises:
        ValueError: If `units` is not a positive integer.

    Example:

    >>> head = nc_keras.layers.WeightNormDense(10)
    >>> tuple(head(np.ones((2, 64))).shape)
    (2, 10)
    >>> [tuple(weight.shape) for weight in head.weights]
    [(64, 10), (10,), (10,)]

    Reference:

    - [Salimans & Kingma, 2016](https://arxiv.org/abs/1602.07868), equation 2.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not hasattr(units, "__index__") or units <= 0:
            raise ValueError(
                f"`units` must be a positive integer. Received: units={units}."
            )
        self.units = operator.index(units)
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.bias = None

    def build(self, input_shape):
        # Norms are taken at full precision, hence no autocast of v and g.
        self.v = self.add_weight(
            name="v",
            shape=(input_shape[-1], self.units),
            initializer=self.kernel_initializer,
            autocast=False,
        )
        self.g = self.add_weight(
            name="g",
            shape=(self.units,),
            initializer=lambda shape, dtype: lengths(self.v, axis=0),
            autocast=False,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.units,),
                initializer=self.bias_initializer,
            )
        self.input_spec = keras.layers.InputSpec(
            min_ndim=2, axes={-1: input_shape[-1]}
        )

    @property
    def kernel(self) -> Any:
        """`g v / ||v||`, shape `(D, units)`, at full precision."""
        return ops.multiply(self.v, self.g / lengths(self.v, axis=0))

    def call(self, inputs):
        kernel = ops.cast(self.kernel, self.compute_dtype)
        outputs = ops.matmul(inputs, kernel)
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return self.activation(outputs)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        config = super().get_config()
        config.update(
            units=self.units,
            activation=keras.activations.serialize(self.activation),
            use_bias=self.use_bias,
            kernel_initializer=keras.initializers.serialize(
                self.kernel_initializer
            ),
            bias_initializer=keras.initializers.serialize(
                self.bias_initializer
            ),
        )
        return config
