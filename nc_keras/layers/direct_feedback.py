from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="nc_keras")
class DirectFeedback(keras.layers.Layer):
    """Passes outputs on, and their error straight to hidden layers.

    Called on the outputs and a list of hidden activations, it returns the
    outputs. What comes back is the gradient `e` of the outputs, and `e F` for
    each activation, with its own fixed, random `F`. See
    `nc_keras.models.direct_feedback`, which places it.

    Example:

    >>> layer = nc_keras.layers.DirectFeedback(seed=0)
    >>> outputs = layer(np.ones((2, 3)), [np.ones((2, 5))])
    >>> tuple(outputs.shape)
    (2, 3)

    Args:
        sign: Boolean, whether to take the signs of `F` alone. Defaults to
            `False`.
        seed: Integer or `None`. The same seed gives the same `F`.
        **kwargs: Base layer keyword arguments, such as `name`.

    Call arguments:
        outputs: Tensor of shape `(batch_size, C)`.
        hidden: List of tensors of shape `(batch_size, ...)`.

    Reference:

    - [Nøkland, 2016](https://arxiv.org/abs/1609.01596); `F` is uniform in
      (-1, 1), as in chscheller/DirectFeedbackAlignment.
    """

    passes_first_input = True

    def __init__(
        self, sign: bool = False, seed: int | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if seed is None:
            seed = int(np.random.default_rng().integers(2**31))
        self.sign, self.seed = sign, seed

    def build(self, outputs_shape, hidden_shape=None):
        rng = np.random.default_rng(self.seed)
        self._feedback = []
        for shape in hidden_shape or ():
            size = int(np.prod(shape[1:]))
            matrix = rng.uniform(-1, 1, (outputs_shape[-1], size))
            matrix = np.sign(matrix) if self.sign else matrix
            self._feedback.append(matrix.T.astype("float32"))

    def call(self, outputs, hidden):
        for one, feedback in zip(hidden, self._feedback, strict=True):
            flat = ops.reshape(one, (ops.shape(one)[0], -1))
            sent = ops.matmul(flat, ops.cast(feedback, flat.dtype))
            # Nothing forward, and `e F` back.
            outputs = outputs + (sent - ops.stop_gradient(sent))
        return outputs

    def compute_output_spec(self, outputs, hidden):
        return keras.KerasTensor(outputs.shape, dtype=self.compute_dtype)

    def get_config(self):
        config = super().get_config()
        config.update(sign=self.sign, seed=self.seed)
        return config


@keras.saving.register_keras_serializable(package="nc_keras")
class StopGradient(keras.layers.Layer):
    """Passes its input on, and no gradient back.

    Example:

    >>> layer = nc_keras.layers.StopGradient()
    >>> float(layer(np.ones(())))
    1.0

    Args:
        **kwargs: Base layer keyword arguments, such as `name`.
    """

    passes_first_input = True

    def call(self, inputs):
        return ops.stop_gradient(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape
